"""Floor 1: paths of the directories below a device's root, each made once for all that name it."""

from functools import lru_cache
from pathlib import PurePosixPath

path_of = lru_cache(maxsize=4096)(PurePosixPath)
"""Making a path costs as much as opening what it names, and all devices have directories of the same names."""
