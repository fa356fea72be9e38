"""Floor 6: `syncd names`: the accounts or devices of the configuration, for the completion of shells; in no help.

It is no command of Typer, which loads pydantic for whatever has a value: behind the tabulator somebody waits.
"""

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from syncd.config.places import config_files, existing

_NAME = re.compile(r"[a-z0-9_-]{1,64}")
"""As `config.values.Name` has it: a shell gets nothing else to read, whatever somebody wrote as a key."""


def names(arguments: list[str]) -> Iterator[str]:
    """Yield the names in a table of the configuration, whatever else is wrong in it.

    arguments: the table, and where the configuration is, `--config PATH` or `--config=PATH`, unless it is to be found.
    """
    table, *config = arguments or [""]
    named = config[-1].removeprefix("--config=") if config else ""
    file = Path(named) if named else existing(config_files(os.environ))
    try:
        found = tomllib.loads(file.read_text("utf-8")).get(table) if file is not None else None
    except (OSError, ValueError, RecursionError):
        return
    yield from (name for name in found if _NAME.fullmatch(name)) if isinstance(found, dict) else ()
