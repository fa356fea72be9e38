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
    if not target.parent.is_dir():
        raise SyncdError(f"there is no directory {target.parent}: make it, or name another file")
    if target.is_dir():
        raise SyncdError(f"{target} is a directory: name a file")
    if target.exists() and (target.samefile(path) if path.exists() else False):
        raise SyncdError(f"{target} is the store itself")
    if target.exists() and not replaces:
        raise SyncdError(f"{target} is there already: name another file, or say --replace")

    from syncd.store.engine.backup import copy_store
    from syncd.store.engine.owner import refuse_stranger

    refuse_stranger(path)
    copy_store(path, target)
    say(f"copied the store to {target} ({target.stat().st_size:,} bytes)")
