"""What docs/ tells people to write, in use."""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers.daemon import Daemon
from tests.servers.dovecot import Dovecot, find_program
from tests.servers.identity import server_identity

DOVECOT = Path(__file__).parents[2] / "docs" / "dovecot.md"
MESSAGE = b"From: a@example.org\r\nSubject: %d\r\nMessage-ID: <%d@example.org>\r\n\r\nHello\r\n"


@pytest.fixture
def phone() -> Iterator[Path]:
    """Yield the path of a device that a server which runs as somebody else can reach."""
    root = Path(tempfile.mkdtemp(prefix="syncd-docs-", dir="/tmp"))
    root.chmod(0o755)
    try:
        yield root / "phone"
    finally:
        shutil.rmtree(root)


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    """Yield what ends things after the test."""
    with ExitStack() as stack:
        yield stack


def serving(phone: Path) -> str:
    """Return the Dovecot configuration of the page, with the places and the user of a test."""
    plain = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    conf, acl = (text for language, text in plain.findall(DOVECOT.read_text()) if not language)
    (phone.parent / "syncd.acl").write_text(acl)
    (phone.parent / "syncd.acl").chmod(0o644)
    for written, ours in (
        ("/srv/mail/phone", str(phone)),
        ("/var/lib/dovecot/syncd", str(phone / ".index")),
        ("/etc/dovecot/syncd.acl", str(phone.parent / "syncd.acl")),
        ("mail_uid = syncd\nmail_gid = syncd\nfirst_valid_uid = 100\n", ""),
    ):
        assert written in conf
        conf = conf.replace(written, ours)
    return conf


def give_away(root: Path) -> None:
    """Let the user that servers run as own a tree."""
    for path in (root, *root.rglob("*")):
        server_identity().give(path)


def test_program_reads_and_flags_through_dovecot_and_can_do_nothing_else(
    tmp_path: Path,
    dovecot: Dovecot,
    mail_user: str,
    make_dovecot: Callable[..., Dovecot],
    phone: Path,
    ends: ExitStack,
) -> None:
    """With the page's configuration a phone sees its mail, its flags reach the provider, its deletions are refused."""
    if find_program().version >= (2, 4):
        pytest.skip("the page is for Dovecot 2.3, and a later one is here")
    dovecot.deliver(mail_user, "INBOX", MESSAGE % (1, 1))
    dovecot.deliver(mail_user, "INBOX", MESSAGE % (2, 2), flags=("\\Seen", "Holiday"))
    dovecot.deliver(mail_user, "Entwürfe/2025", MESSAGE % (3, 3))
    account = {"type": "imap", "host": dovecot.host, "port": dovecot.imap_port, "tls": "none", "username": mail_user}
    config = {
        "accounts": {"work": account | {"password": dovecot.password}},
        "devices": {"phone": {"path": str(phone), "layout": "fs"}},
    }
    daemon = ends.push(Daemon(tmp_path / "syncd", config))
    daemon.sync()
    (phone / "isp").mkdir()
    give_away(phone)
    server = make_dovecot(tls=False, storage="maildir", extra_config=serving(phone))

    with server.imap("ana") as program:
        names = b" ".join(line for line in program.list()[1] if isinstance(line, bytes))
        program.select("INBOX")
        flags = program.uid("FETCH", "1:*", "(FLAGS)")[1]
        program.uid("STORE", "1:*", "+FLAGS", "(\\Flagged)")
        program.uid("STORE", "1:*", "+FLAGS", "(\\Deleted)")
        program.expunge()
        appended = program.append("INBOX", "", "", MESSAGE % (4, 4))[0]
        copied = program.uid("COPY", "1:*", "Trash")[0]
    daemon.sync()

    assert b"INBOX" in names
    assert b"Entw&APw-rfe/2025" in names
    assert sum(b"Holiday" in line for line in flags if isinstance(line, bytes)) == 1
    assert (appended, copied) == ("NO", "NO")
    with dovecot.imap(mail_user) as provider:
        provider.select("INBOX", readonly=True)
        at_provider = [line for line in provider.uid("FETCH", "1:*", "(FLAGS)")[1] if isinstance(line, bytes)]
    assert len(at_provider) == 2
    assert all(b"\\Flagged" in line for line in at_provider)
