"""Floor 5: what a person was granted at a provider of OAuth, kept for the daemon, or without one."""

import asyncio
import time
from functools import partial

from sqlalchemy import Connection

from syncd.config.model import Config, LogLevel
from syncd.daemon.process import logs
from syncd.daemon.serving.identity import ensure_accounts
from syncd.errors import StoreBusyError, StoreError, Temper
from syncd.oauth.grants import Grant
from syncd.oauth.seal import sealed
from syncd.store.engine.database import Database
from syncd.store.trees import grants

_PATIENCE_S = 60.0
_STEP_S = 0.5


async def keep_grant(db: Database, config: Config, name: str, grant: Grant, *, now: float) -> None:
    """Keep a grant for an account of the configuration; SyncdError where it can be kept nowhere."""
    key_file = config.store.key_path
    if key_file is None:
        raise StoreError("[store] key_file is missing", temper=Temper.GIVE_UP)
    text = await asyncio.to_thread(sealed, grant, key_file)
    await db.write(partial(_keep, config=config, name=name, text=text, now=now))


def keep_grant_alone(config: Config, name: str, grant: Grant) -> None:
    """Own the store for a moment; StoreBusyError while another syncd does, for longer than a short sync takes.

    A store that is not there is made.
    """
    logs.configure(config.daemon, at_least=LogLevel.ERROR)
    with _own_store(config) as db:
        asyncio.run(keep_grant(db, config, name, grant, now=time.time()))


def _own_store(config: Config) -> Database:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return Database.open(config.store.url.get_secret_value(), auto_migrate=config.store.auto_migrate)
        except StoreBusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_STEP_S)


def _keep(conn: Connection, *, config: Config, name: str, text: str, now: float) -> None:
    ids, held = ensure_accounts(conn, config=config)
    if name in held:
        raise held[name]
    grants.put_grant(conn, ids[name], text, now=now)
