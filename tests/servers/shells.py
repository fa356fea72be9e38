"""Shells whose completion is tried: the installed one, else Debian's package of it, unpacked."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers import debian
from tests.servers.identity import server_identity


@dataclass(frozen=True, slots=True)
class Shell:
    """Name the program, what it needs in its environment, and where its package is if it is not installed."""

    program: str
    environment: Mapping[str, str] = field(default_factory=dict)
    root: Path | None = None


def find_shell(name: str) -> Shell:
    """Return a shell; ServerUnavailable if it is neither installed nor to be had."""
    if installed := shutil.which(name):
        return Shell(installed)
    root = debian.unpack((name,), identity=server_identity(), follow=("lib", f"{name}-common"))
    (program,) = (place / name for place in (root / "usr/bin", root / "bin") if (place / name).is_file())
    return Shell(str(program), {"LD_LIBRARY_PATH": debian.library_path(root)}, root)
