"""Floor 6: the store as commands take it while no daemon has it; none that is not there is made."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from syncd.config.model import Config
    from syncd.store.engine.database import Database


@contextmanager
def store_to_read(config: "Config") -> Iterator["Database"]:
    """Have the store for reading only, beside whoever owns it; SyncdError if there is none."""
    from syncd.store.engine.database import Database

    with Database.open_readonly(config.store.url.get_secret_value()) as db:
        yield db


@contextmanager
def store_to_change(config: "Config") -> Iterator["Database"]:
    """Own the store for a moment; StoreBusyError while another syncd does, SyncdError if there is none."""
    from syncd.store.engine.database import Database

    with store_to_read(config):  # which does not make one
        pass
    with Database.open(config.store.url.get_secret_value(), auto_migrate=False) as db:
        yield db
