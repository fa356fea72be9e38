"""Logging in to a real server by each mechanism that proves a password without sending it."""

from collections.abc import Callable

import pytest

from syncd.errors import LoginRefusedError
from syncd.imap.connection import ImapConnection
from syncd.imap.wire.endpoint import Endpoint
from tests.servers.dovecot import Dovecot
from tests.servers.ports import ANOTHER_MACHINE


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
@pytest.mark.parametrize("is_encrypted", [True, False])
async def test_scram_lets_in_who_knows_the_password(
    make_dovecot: Callable[..., Dovecot], mechanism: str, is_encrypted: bool
) -> None:
    """And nobody else; the server has proven that it knows it, too."""
    server = make_dovecot(extra_config=f"auth_mechanisms = {mechanism.lower()}\n")
    endpoint = Endpoint(server.host, server.imap_port, "none")
    if is_encrypted:
        endpoint = Endpoint(server.host, server.imaps_port, "implicit", ca_file=server.ca_file)

    connection = await ImapConnection.open(endpoint)
    with pytest.raises(LoginRefusedError) as caught:
        await connection.login("ana", "wrong one")
    await connection.login("ana", server.password)
    await connection.noop()
    await connection.logout()

    assert caught.value.code == "AUTHENTICATIONFAILED"
    server.until_logged(f"user=<ana>, method={mechanism}")


@pytest.mark.parametrize(
    ("is_encrypted", "is_here", "mechanism"),
    [(True, True, "PLAIN"), (False, True, "PLAIN"), (False, False, "SCRAM-SHA-256")],
)
async def test_password_is_sent_only_where_nobody_listens(
    dovecot: Dovecot, mail_user: str, is_encrypted: bool, is_here: bool, mechanism: str
) -> None:
    """This server has everything: encrypted, or on this machine, it gets what every user of every server has.

    Else it gets what tells nothing.
    """
    host = dovecot.host if is_here else ANOTHER_MACHINE
    endpoint = Endpoint(host, dovecot.imap_port, "none", allow_plaintext=True)
    if is_encrypted:
        endpoint = Endpoint(dovecot.host, dovecot.imaps_port, "implicit", ca_file=dovecot.ca_file)

    connection = await ImapConnection.open(endpoint)
    await connection.login(mail_user, dovecot.password)
    await connection.logout()

    dovecot.until_logged(f"user=<{mail_user}>, method={mechanism}")
