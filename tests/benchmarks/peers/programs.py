"""Where the peers are: installed, or unpacked from Debian packages; one that cannot be had is named, not missed."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.servers import debian
from tests.servers.identity import server_identity

_PYTHON = "/usr/bin/python3"
_PERL = "/usr/bin/perl"


@dataclass(frozen=True, slots=True)
class Program:
    """How to start a program: the words of its command, and what it needs in its environment."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@cache
def find(name: str, *packages: str) -> Program:
    """Return a program of Debian packages, by default of the one called like it; ServerUnavailable without it."""
    if installed := shutil.which(name):
        return Program((installed,))
    root = debian.unpack(packages or (name,), identity=server_identity())
    program = root / "usr/bin" / name
    environment = {"LD_LIBRARY_PATH": debian.library_path(root)}
    with program.open("rb") as file:
        first = file.readline() if file.read(2) == b"#!" else b""
    if b"python" in first:
        return Program(
            (_PYTHON, str(program)), {"PYTHONPATH": _joined(root, "usr/lib/python3/dist-packages", "usr/share")}
        )
    if b"perl" in first:
        # NOTE: a program that distrusts its environment (-T) does not look at PERL5LIB.
        distrusts = ("-T",) if b"-T" in first else ()
        return Program((_PERL, *distrusts, *(f"-I{found}" for found in _perl(root)), str(program)), environment)
    return Program((str(program),), environment)


def _joined(root: Path, *directories: str) -> str:
    return ":".join(str(root / directory) for directory in directories)


def _perl(root: Path) -> list[Path]:
    return [root / "usr/share/perl5", *root.glob("usr/lib/*/perl5/*")]
