"""The Dovecot that other tests stand on does what they rely on."""

import datetime
import errno
import imaplib
import socket
from collections.abc import Callable

import pytest

from tests.servers import capabilities
from tests.servers.delivery import Delivery
from tests.servers.dovecot import PASSWORD, Dovecot
from tests.servers.messages import Kind, Writer

SPECIAL = {b"Drafts", b"Sent", b"Trash", b"Junk"}


def test_every_user_finds_the_special_mailboxes_and_no_mail(dovecot: Dovecot, mail_user: str) -> None:
    """A user that nobody ever mentioned can log in and has an empty INBOX and the special-use mailboxes."""
    with dovecot.imap(mail_user) as client:
        _, rows = client.list()

        assert client.select()[1] == [b"0"]
    lines = [row for row in rows if isinstance(row, bytes)]
    assert SPECIAL | {b"INBOX"} == {line.rpartition(b" ")[2] for line in lines}
    assert any(b"\\Drafts" in line for line in lines)


def test_a_wrong_password_is_refused(dovecot: Dovecot, mail_user: str) -> None:
    """Tests of failing logins meet a real refusal."""
    client = imaplib.IMAP4(dovecot.host, dovecot.imap_port, timeout=10)

    with client, pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        client.login(mail_user, PASSWORD + "?")


def test_tls_is_verified_by_the_servers_own_authority(dovecot: Dovecot, mail_user: str) -> None:
    """`ca_file` is enough to verify implicit TLS, STARTTLS and POP3S by name."""
    with imaplib.IMAP4_SSL("localhost", dovecot.imaps_port, ssl_context=dovecot.tls_context()) as client:
        assert client.login(mail_user, PASSWORD)[0] == "OK"
    with imaplib.IMAP4("localhost", dovecot.imap_port) as client:
        assert client.starttls(dovecot.tls_context())[0] == "OK"
    with (
        socket.create_connection(("localhost", dovecot.pop3s_port)) as raw,
        dovecot.tls_context().wrap_socket(raw, server_hostname="localhost") as secured,
    ):
        assert secured.recv(3) == b"+OK"


def test_delivered_mail_keeps_octets_flags_and_date(dovecot: Dovecot, mail_user: str) -> None:
    """What `deliver` appends is what IMAP gives back."""
    date = datetime.datetime(2020, 2, 29, 23, 59, 58, tzinfo=datetime.UTC)
    message = Writer(1).message(Kind.ATTACHMENT)

    uid = dovecot.deliver(mail_user, "Lists/Ünicode & more", message, flags=("\\Seen", "$Forwarded"), internaldate=date)

    with dovecot.imap(mail_user) as client:
        client.select('"Lists/&ANw-nicode &- more"')
        (facts, octets), _ = client.uid("fetch", str(uid), "(FLAGS INTERNALDATE BODY.PEEK[])")[1]
    assert message == octets
    assert b"\\Seen" in facts
    assert b"$Forwarded" in facts
    assert b'"29-Feb-2020 23:59:58 +0000"' in facts


def test_bulk_delivery_returns_the_uids_in_order(dovecot: Dovecot, mail_user: str) -> None:
    """Thousands of messages are delivered by a few commands."""
    uids = dovecot.deliver_all(mail_user, "INBOX", (Delivery(b"Subject: %d\r\n\r\n" % n) for n in range(2_500)))

    assert tuple(range(1, 2_501)) == uids
    with dovecot.imap(mail_user) as client:
        client.select()
        assert b"Subject: 1700" in client.uid("fetch", "1701", "BODY[]")[1][0][1]


def test_pop3_serves_the_inbox_and_deletes(dovecot: Dovecot, mail_user: str) -> None:
    """POP3 and IMAP are two doors to the same mail."""
    dovecot.deliver(mail_user, "INBOX", b"Subject: one\r\n\r\n.dot\r\n")

    client = dovecot.pop3(mail_user)
    assert client.retr(1)[1] == [b"Subject: one", b"", b".dot"]
    client.dele(1)
    client.quit()

    with dovecot.imap(mail_user) as again:
        assert again.select()[1] == [b"0"]


@pytest.mark.parametrize(
    ("capability", "missing"),
    [
        (capabilities.NO_QRESYNC, "QRESYNC"),
        (capabilities.NO_CONDSTORE, "CONDSTORE"),
        (capabilities.NO_PUSH, "IDLE"),
        (capabilities.BASE, "UIDPLUS"),
    ],
)
def test_a_masked_capability_is_not_announced(
    make_dovecot: Callable[..., Dovecot], capability: str, missing: str
) -> None:
    """A mask shows before and after login."""
    server = make_dovecot(capability=capability)
    client = imaplib.IMAP4(server.host, server.imap_port)

    with client:
        before = client.capabilities
        client.login("ana", PASSWORD)
        after = client.capability()[1][0].split()

    assert missing not in before
    assert missing.encode() not in after


def test_every_capability_of_a_mask_is_one_that_dovecot_has(dovecot: Dovecot, mail_user: str) -> None:
    """`capabilities.without()` invents nothing, so that a masked server can do what it still announces."""
    with dovecot.imap(mail_user) as client:
        announced = client.capability()[1][0].decode()

    assert set(capabilities.without().split()) <= set(announced.split())


def test_another_separator_is_announced(make_dovecot: Callable[..., Dovecot]) -> None:
    """`separator` is the hierarchy delimiter of every mailbox."""
    server = make_dovecot(separator=".", storage="maildir", tls=False)
    server.deliver("ana", "Lists.one", b"Subject: x\r\n\r\n")

    with server.imap("ana") as client:
        rows = client.list()[1]

    assert all(b' "." ' in row for row in rows if isinstance(row, bytes))
    assert any(b"Lists.one" in row for row in rows if isinstance(row, bytes))


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_after_a_restart_ports_mail_and_uidvalidity_are_the_same(
    make_dovecot: Callable[..., Dovecot], end: str
) -> None:
    """A client finds the same server again, however it went away."""
    server = make_dovecot()
    server.deliver("ana", "INBOX", b"Subject: kept\r\n\r\n")
    before = _uidvalidity(server)
    connection = server.imap("ana")

    getattr(server, end)()
    with socket.socket() as probe:
        assert probe.connect_ex((server.host, server.imap_port)) == errno.ECONNREFUSED
    with pytest.raises((imaplib.IMAP4.abort, OSError)):
        connection.noop()
    connection.shutdown()
    server.start()

    assert before == _uidvalidity(server)
    with server.imap("ana") as client:
        assert client.select()[1] == [b"1"]


def _uidvalidity(server: Dovecot) -> bytes:
    with server.imap("ana") as client:
        return client.status("INBOX", "(UIDVALIDITY)")[1][0]
