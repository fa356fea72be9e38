"""Accounts of both protocols on a real server, connected and logged in as the daemon does it."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from syncd.config.accounts import ImapConfig, Pop3Config
from syncd.daemon.serving.passwords import Password
from syncd.imap.connection import ImapConnection
from syncd.pop3.connection import Connection
from syncd.sync.imap.account import endpoint_of as imap_endpoint
from syncd.sync.pop3.account import endpoint_of as pop3_endpoint
from tests.servers.dovecot import Dovecot

AccountConfig = ImapConfig | Pop3Config
Kind = Literal["imap", "pop3"]
Tls = Literal["implicit", "starttls"]
MakeAccount = Callable[..., AccountConfig]


@pytest.fixture(params=["imap", "pop3"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Return what the server speaks."""
    return request.param  # type: ignore[no-any-return]  # one of them


@pytest.fixture(params=["implicit", "starttls"])
def tls(request: pytest.FixtureRequest) -> Tls:
    """Return when encryption begins."""
    return request.param  # type: ignore[no-any-return]  # one of them


@pytest.fixture
def make_account(kind: Kind, tls: Tls) -> MakeAccount:
    """Return a function that makes an account of one protocol, encrypted in one way."""

    def make(server: Dovecot, user: str, **keys: object) -> AccountConfig:
        ports = {
            ("imap", "implicit"): server.imaps_port,
            ("imap", "starttls"): server.imap_port,
            ("pop3", "implicit"): server.pop3s_port,
            ("pop3", "starttls"): server.pop3_port,
        }
        table = {"type": kind, "host": server.host, "port": ports[kind, tls], "tls": tls, "username": user, **keys}
        return (ImapConfig if kind == "imap" else Pop3Config).model_validate(table, context=Path("/"))

    return make


async def log_in(account: AccountConfig) -> None:
    """Connect, log in, see that the server lets us do something, and leave."""
    if isinstance(account, ImapConfig):
        imap = await ImapConnection.open(imap_endpoint(account))
        try:
            async with Password(account)() as secret:
                await imap.login(account.username, secret)
            await imap.select(b"INBOX")
        finally:
            await imap.aclose()
    else:
        async with await Connection.open(await pop3_endpoint(account)) as pop3:
            async with Password(account)() as secret:
                await pop3.login(account.username, secret)
            await pop3.listing()
            await pop3.quit()
