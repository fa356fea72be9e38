"""Logging in to a real maildrop: what goes over which line."""

from collections.abc import Callable

import pytest

from syncd.errors import LoginRefusedError
from syncd.pop3.connection import Connection
from syncd.pop3.endpoint import Endpoint, Security
from tests.servers.dovecot import Dovecot
from tests.servers.ports import ANOTHER_MACHINE


def endpoint(server: Dovecot, security: Security, *, is_here: bool = True) -> Endpoint:
    port = server.pop3s_port if security is Security.TLS else server.pop3_port
    host = server.host if is_here else ANOTHER_MACHINE
    return Endpoint(host, port, security, None if security is Security.PLAIN else server.tls_context())


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
async def test_scram_lets_in_who_knows_the_password(make_dovecot: Callable[..., Dovecot], mechanism: str) -> None:
    """And nobody else; the server has proven that it knows it, too."""
    server = make_dovecot(extra_config=f"auth_mechanisms = {mechanism.lower()}\n")
    async with await Connection.open(endpoint(server, Security.PLAIN, is_here=False)) as connection:
        with pytest.raises(LoginRefusedError):
            await connection.login("ana", "wrong one")
        await connection.login("ana", server.password)
        assert await connection.listing() == ()
        await connection.quit()

    server.until_logged(f"user=<ana>, method={mechanism}")


@pytest.mark.parametrize(
    ("security", "is_here", "mechanism"),
    [
        (Security.TLS, True, "PLAIN"),
        (Security.STLS, True, "PLAIN"),
        (Security.PLAIN, True, "PLAIN"),
        (Security.PLAIN, False, "SCRAM-SHA-256"),
    ],
)
async def test_password_is_sent_only_where_nobody_listens(
    dovecot: Dovecot, mail_user: str, security: Security, is_here: bool, mechanism: str
) -> None:
    """This server has everything: encrypted, or on this machine, it gets what every user of every server has.

    Else it gets what tells nothing.
    """
    async with await Connection.open(endpoint(dovecot, security, is_here=is_here)) as connection:
        await connection.login(mail_user, dovecot.password)
        await connection.quit()

    dovecot.until_logged(f"user=<{mail_user}>, method={mechanism}")
