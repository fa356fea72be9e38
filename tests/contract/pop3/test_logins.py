"""Logging in to a real maildrop: what goes over which line."""

from collections.abc import Callable

import pytest

from syncd.errors import LoginRefusedError
from syncd.pop3.connection import Connection
from syncd.pop3.endpoint import Endpoint, Security
from tests.servers.dovecot import Dovecot


def endpoint(server: Dovecot, security: Security) -> Endpoint:
    port = server.pop3s_port if security is Security.TLS else server.pop3_port
    return Endpoint(server.host, port, security, None if security is Security.PLAIN else server.tls_context())


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
async def test_scram_lets_in_who_knows_the_password(make_dovecot: Callable[..., Dovecot], mechanism: str) -> None:
    """And nobody else; the server has proven that it knows it, too."""
    server = make_dovecot(extra_config=f"auth_mechanisms = {mechanism.lower()}\n")
    async with await Connection.open(endpoint(server, Security.PLAIN)) as connection:
        with pytest.raises(LoginRefusedError):
            await connection.login("ana", "wrong one")
        await connection.login("ana", server.password)
        assert await connection.listing() == ()
        await connection.quit()

    assert f"user=<ana>, method={mechanism}" in server.log_file.read_text()


@pytest.mark.parametrize(
    ("security", "mechanism"),
    [(Security.TLS, "PLAIN"), (Security.STLS, "PLAIN"), (Security.PLAIN, "SCRAM-SHA-256")],
)
async def test_password_is_sent_only_where_nobody_listens(
    dovecot: Dovecot, mail_user: str, security: Security, mechanism: str
) -> None:
    """This server has everything: encrypted it gets what every user of every server has, else what tells nothing."""
    async with await Connection.open(endpoint(dovecot, security)) as connection:
        await connection.login(mail_user, dovecot.password)
        await connection.quit()

    assert f"user=<{mail_user}>, method={mechanism}" in dovecot.log_file.read_text()
