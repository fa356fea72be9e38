"""A maildrop of a real Dovecot, drained by the custody chain over each kind of line."""

from collections import Counter
from pathlib import Path

import pytest

from syncd.errors import LoginRefusedError
from syncd.pop3.connection import Connection
from syncd.pop3.endpoint import Endpoint, Limits, Security
from syncd.pop3.ingest import ingest
from tests.servers.delivery import Delivery
from tests.servers.dovecot import Dovecot
from tests.servers.messages import Kind, Writer
from tests.unit.pop3.ledger import Ledger


def endpoint(dovecot: Dovecot, security: Security) -> Endpoint:
    port = dovecot.pop3s_port if security is Security.TLS else dovecot.pop3_port
    return Endpoint(dovecot.host, port, security, None if security is Security.PLAIN else dovecot.tls_context())


def as_served(message: bytes) -> bytes:
    """Return what Dovecot serves: CRLF everywhere, and a line end at the end."""
    crlf = message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return crlf if crlf.endswith(b"\r\n") else crlf + b"\r\n"


def left(dovecot: Dovecot, user: str) -> int:
    """Return how many messages another client sees in the maildrop."""
    client = dovecot.pop3(user)
    count, _ = client.stat()
    client.quit()
    return count


def has_files(directory: Path) -> bool:
    """Tell whether a spooled body was left behind."""
    return any(directory.iterdir())


@pytest.mark.parametrize("security", Security)
async def test_maildrop_of_500_is_drained_octet_for_octet(
    dovecot: Dovecot, mail_user: str, security: Security, tmp_path: Path
) -> None:
    """Every message is in INBOX exactly as often as it was in the maildrop, which ends up empty."""
    seed = 8
    print(f"seed {seed}")
    writer = Writer(seed)
    messages = [*writer.corpus(480), *(writer.message(kind) for kind in Kind if kind is not Kind.EMPTY)]
    messages += messages[: 500 - len(messages)]
    dovecot.deliver_all(mail_user, "INBOX", (Delivery(message) for message in messages))
    ledger = Ledger()

    async with await Connection.open(endpoint(dovecot, security), Limits(spool_above_bytes=100_000)) as connection:
        await connection.login(mail_user, dovecot.password)
        report = await ingest(connection, ledger, spool=tmp_path)

    assert Counter(map(as_served, messages)) == ledger.contents
    assert (report.retrieved, report.deleted, report.kept, report.set_aside) == (500, 500, 0, 0)
    assert not has_files(tmp_path)
    assert left(dovecot, mail_user) == 0


async def test_second_session_on_an_empty_maildrop_does_nothing(
    dovecot: Dovecot, mail_user: str, tmp_path: Path
) -> None:
    """A poll of an empty maildrop changes nothing and ends well."""
    ledger = Ledger()

    async with await Connection.open(endpoint(dovecot, Security.PLAIN)) as connection:
        await connection.login(mail_user, dovecot.password)
        report = await ingest(connection, ledger, spool=tmp_path)

    assert (report.retrieved, report.deleted, report.bytes) == (0, 0, 0)


async def test_session_dropped_before_quit_keeps_the_mail_and_the_next_one_deletes_it(
    dovecot: Dovecot, mail_user: str, tmp_path: Path
) -> None:
    """DELE counts only after QUIT: what was committed is deleted later, without being stored twice."""
    messages = list(Writer(3).corpus(20))
    dovecot.deliver_all(mail_user, "INBOX", (Delivery(message) for message in messages))
    ledger = Ledger()

    class DroppedAtQuit(Connection):
        async def quit(self) -> None:
            raise ConnectionResetError

    async with await DroppedAtQuit.open(endpoint(dovecot, Security.PLAIN)) as connection:
        await connection.login(mail_user, dovecot.password)
        with pytest.raises(ConnectionResetError):
            await ingest(connection, ledger, spool=tmp_path)
    assert left(dovecot, mail_user) == 20

    async with await Connection.open(endpoint(dovecot, Security.PLAIN)) as connection:
        await connection.login(mail_user, dovecot.password)
        report = await ingest(connection, ledger, spool=tmp_path)

    assert (report.retrieved, report.duplicates, report.deleted) == (20, 20, 20)
    assert Counter(map(as_served, messages)) == ledger.contents


async def test_wrong_password_is_a_refused_login(dovecot: Dovecot, mail_user: str) -> None:
    """A server that announces AUTH codes names the password as the reason."""
    async with await Connection.open(endpoint(dovecot, Security.TLS)) as connection:
        with pytest.raises(LoginRefusedError) as caught:
            await connection.login(mail_user, "not it")

    assert caught.value.code == "AUTH"
    assert "not it" not in str(caught.value)
