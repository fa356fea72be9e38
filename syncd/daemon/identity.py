"""Floor 5: the accounts of a configuration as rows of the store: which can be served, and which are held, and why."""

import hashlib
from collections.abc import Mapping

from sqlalchemy import Connection

from syncd.config.model import Config, ImapConfig, Pop3Config
from syncd.errors import StoreError, SyncdError, Temper
from syncd.store import accounts
from syncd.sync.requests import Requests


def ensure_accounts(conn: Connection, *, config: Config) -> tuple[Mapping[str, int], Mapping[str, SyncdError]]:
    """Return the ids of the accounts that can be served, made if need be, and why each of the others is held."""
    ids: dict[str, int] = {}
    held: dict[str, SyncdError] = {}
    for name, account in config.accounts.items():
        try:
            ids[name] = accounts.ensure_account(conn, name, kind=account.type, identity=identity_of(account))
        except StoreError as error:
            held[name] = SyncdError(str(error), temper=Temper.GIVE_UP)  # it reaches this account, not the store
    return ids, held


def identity_of(account: ImapConfig | Pop3Config) -> str:
    """Return the digest that tells whether an account's mail is from the same server and user as before."""
    parts = (account.type, account.host.lower(), account.username)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class Held:
    """Stand in for an account that must not be served; every run says why."""

    def __init__(self, requests: Requests, why: SyncdError) -> None:
        self.requests = requests
        self._why = why

    async def run(self) -> None:
        raise self._why
