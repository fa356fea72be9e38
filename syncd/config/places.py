"""Floor 2: where a configuration is looked for that nobody named; without what it takes to read one."""

import os
from collections.abc import Mapping
from pathlib import Path

CONFIG_VARIABLE = "SYNCD_CONFIG"
SYSTEM_FILE = Path("/etc/syncd/syncd.toml")


def config_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the places of a configuration nobody named, first choice first."""
    if environ.get(CONFIG_VARIABLE):
        return (Path(environ[CONFIG_VARIABLE]),)
    return SYSTEM_FILE, xdg(environ, "XDG_CONFIG_HOME", ".config") / "syncd" / "syncd.toml"


def existing(files: tuple[Path, ...]) -> Path | None:
    """Return the first of these that can be read, else the first that is there at all; None where none is."""
    # A file of the system that is not for us does not keep us from our own.
    # NOTE: Path.exists() raises below a directory that may not be searched, up to Python 3.11.
    for usable in (lambda file: os.access(file, os.R_OK), os.path.exists):
        for file in files:
            if usable(file):
                return file
    return None


def xdg(environ: Mapping[str, str], name: str, below_home: str) -> Path:
    """Return a directory of the XDG specification: as a variable names it, else its place in the home."""
    given = Path(environ.get(name, ""))
    if given.is_absolute():
        return given
    return Path(environ.get("HOME") or Path.home()) / below_home
