"""Floor 5: the accounts of a configuration as rows of the store: which can be served, and which are held, and why."""

import hashlib
from collections.abc import Mapping

from sqlalchemy import Connection

from syncd.config.accounts import ImapConfig, Pop3Config
from syncd.config.model import Config
from syncd.errors import StoreError, SyncdError, Temper
from syncd.store.people.purging import NAMELESS
from syncd.store.trees import accounts
from syncd.sync.requests import Requests


def ensure_accounts(conn: Connection, *, config: Config) -> tuple[Mapping[str, int], Mapping[str, SyncdError]]:
    """Return the ids of the accounts that can be served, made if need be, and why each of the others is held."""
    ids: dict[str, int] = {}
    held: dict[str, SyncdError] = {}
    for name, account in config.accounts.items():
        try:
            if (before := _name_before(conn, config, name)) is not None:
                raise StoreError(
                    f"it is the server and user that account {before} was: syncd account rename {before} "
                    f"{name} goes on with its mail, and syncd purge --account {before} --yes begins anew"
                )
            ids[name] = accounts.ensure_account(conn, name, kind=account.type, identity=identity_of(account))
        except StoreError as error:
            held[name] = SyncdError(str(error), temper=Temper.GIVE_UP)  # it reaches this account, not the store
    return ids, held


def rename_account(conn: Connection, config: Config, *, name: str, to: str) -> None:
    """Let an account go on under the name that it has in the configuration now; SyncdError if it is not that one."""
    if to not in config.accounts:
        raise _refusal(f"account {to} is not in the configuration: give account {name} that name there first")
    if name in config.accounts:
        raise _refusal(f"account {name} is in the configuration still: give it the other name there first")
    if not accounts.is_account(conn, name):
        raise _refusal(f"the store has nothing of account {name}")
    if accounts.is_account(conn, to):
        raise _refusal(f"the store has mail of account {to} already")
    account = config.accounts[to]
    if name not in accounts.account_names(conn, kind=account.type, identity=identity_of(account)):
        raise _refusal(f"account {to} is another server or user than account {name} was")
    accounts.rename_account(conn, name, to)


def _name_before(conn: Connection, config: Config, name: str) -> str | None:
    """Return what an account was called that the store has under a name which is not in the configuration any more."""
    if accounts.is_account(conn, name):
        return None
    account = config.accounts[name]
    known = accounts.account_names(conn, kind=account.type, identity=identity_of(account))
    return next((one for one in known if one not in config.accounts and not one.startswith(NAMELESS)), None)


def _refusal(text: str) -> SyncdError:
    return SyncdError(text, temper=Temper.GIVE_UP)


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
