"""Floor 6: `syncd backup`: a copy of the store as of one moment, whether the daemon runs or not."""

from pathlib import Path
from typing import Annotated

import typer

from syncd.cli.configured import configuration
from syncd.cli.options import ConfigOption
from syncd.cli.terminal import say
from syncd.errors import SyncdError


def backup(
    *,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy goes.")],
    replaces: Annotated[bool, typer.Option("--replace", help="Take the place of a file that is there.")] = False,
    config: ConfigOption = None,
) -> None:
    """Copy the store, whole and durably, while the daemon goes on; mail on devices and servers is not in it."""
    settings = configuration(config).config
    path = settings.store.sqlite_path
    if path is None:
        raise SyncdError("the store is in PostgreSQL: pg_dump makes a copy of it while syncd goes on")
    try:
        size_bytes = _copy(path, target, replaces=replaces)
    except OSError as error:
        raise SyncdError(f"{target} cannot be written: {(error.strerror or 'unknown').lower()}") from error
    say(f"copied the store to {target} ({size_bytes:,} bytes)")


def _copy(path: Path, target: Path, *, replaces: bool) -> int:
    """Copy the store, and return the size of the copy; SyncdError if it should not be there, OSError if it cannot."""
    if not target.parent.is_dir():
        raise SyncdError(f"there is no directory {target.parent}: make it, or name another file")
    if target.is_dir():
        raise SyncdError(f"{target} is a directory: name a file")
    if target.exists() and path.exists() and target.samefile(path):
        raise SyncdError(f"{target} is the store itself")
    if target.exists() and not replaces:
        raise SyncdError(f"{target} is there already: name another file, or say --replace")

    from syncd.store.engine.backup import copy_store
    from syncd.store.engine.owner import refuse_stranger

    refuse_stranger(path)
    copy_store(path, target)
    return target.stat().st_size
