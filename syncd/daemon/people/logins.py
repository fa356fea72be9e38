"""Floor 5: what a person was granted at a provider of OAuth, kept for the daemon, or without one.

Theory. A person who comes back from a browser has done what is theirs. So whether it can be kept is tried before, on
the same way: the store is opened, the account looked at, and the key made.
"""

import asyncio
import time
from functools import partial

from sqlalchemy import Connection

from syncd.config.model import Config
from syncd.config.oauth import application_of
from syncd.daemon.people.answers import LoginRequest
from syncd.daemon.serving.identity import ensure_accounts
from syncd.errors import SyncdError, Temper
from syncd.oauth.grants import Grant
from syncd.oauth.seal import ready_key, sealed
from syncd.store.engine.database import Database
from syncd.store.trees import grants


async def keep_grant(db: Database, config: Config, wanted: LoginRequest, *, now: float) -> bool:
    """Keep what was granted for an account, and tell whether that was anything; SyncdError where it cannot be kept."""
    account, key_file = config.accounts[wanted.account], config.store.key_path
    if account.oauth is None:
        raise _refusal(f"accounts.{wanted.account} has no oauth where it runs: syncd reload")
    application = application_of(account)
    if (application.client_id, application.token_url) != (wanted.client_id, wanted.token_url):
        raise _refusal(f"accounts.{wanted.account} has another client_id or token_url where it runs: syncd reload")
    if (application.client_secret is not None) is not wanted.has_secret:
        name = f"SYNCD_ACCOUNTS__{wanted.account.upper()}__OAUTH__CLIENT_SECRET"
        raise _refusal(f"only one of this command and the daemon has the client_secret: give both the same, as {name}")
    if key_file is None:
        raise _refusal("[store] key_file is missing")
    await asyncio.to_thread(ready_key, key_file)
    text = ""
    if wanted.grant:
        try:
            text = await asyncio.to_thread(sealed, Grant.from_text(wanted.grant), key_file)
        except ValueError as error:
            raise _refusal(str(error)) from None
    await db.write(partial(_keep, config=config, name=wanted.account, text=text, now=now))
    return bool(text)


def keep_grant_alone(config: Config, wanted: LoginRequest) -> None:
    """Own the store for a moment; StoreBusyError while another syncd does. A store that is not there is made.

    What is logged is the caller's to configure.
    """
    with Database.open(config.store.url.get_secret_value(), auto_migrate=config.store.auto_migrate) as db:
        asyncio.run(keep_grant(db, config, wanted, now=time.time()))


def _keep(conn: Connection, *, config: Config, name: str, text: str, now: float) -> None:
    ids, held = ensure_accounts(conn, config=config)
    if name in held:
        raise held[name]
    if text:
        grants.put_grant(conn, ids[name], text, now=now)


def _refusal(text: str) -> SyncdError:
    return SyncdError(text, temper=Temper.GIVE_UP)
