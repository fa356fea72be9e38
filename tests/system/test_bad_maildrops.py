"""What goes wrong with a POP3 server: told where and what, nothing lost, and the other accounts go on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.daemon import Daemon
from tests.servers.dovecot import Dovecot
from tests.system.background import in_background
from tests.system.mail import deliver, files, imap_account, letter
from tests.unit.pop3.scripted import CUT, HOST, Hook, Mail, Reply, ScriptedServer, Session

MakeDaemon = Callable[..., Daemon]


def scripted_account(server: ScriptedServer, **keys: object) -> dict[str, object]:
    port = server.endpoint().port
    return {"type": "pop3", "host": HOST, "port": port, "tls": "none", "username": "ana", "password": "secret", **keys}


@contextmanager
def maildrop(hook: Hook | None = None, **more: object) -> Iterator[ScriptedServer]:
    """Serve three messages; the second of them is bad where the hook says so."""
    mails = [Mail(f"uidl-{number}", letter(number)) for number in range(3)]
    with in_background(ScriptedServer(mails, hook=hook, **more)) as server:  # type: ignore[arg-type]  # passed on
        yield server


def refuse_second(_: Session, line: str) -> Reply | None:
    return Reply(b"-ERR \x1b[31mcannot read it\r\n") if line == "RETR 2" else None


def test_message_that_is_refused_is_told_and_stays_in_the_maildrop(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """It is no success: the message is set aside where a person sees it, the others are taken; a later try takes it."""
    is_broken = True

    def refuse(session: Session, line: str) -> Reply | None:
        if not line.startswith("RETR ") or server.mails[int(line[5:]) - 1].uidl != "uidl-1":
            return None
        return Reply(b"-ERR \x1b[31mcannot read it\r\n") if is_broken else None

    with maildrop(refuse) as server:
        daemon = make_daemon({"isp": scripted_account(server)}, devices=("laptop",))

        first, shown = daemon.syncd("sync"), daemon.syncd("status").stdout
        often = [daemon.syncd("sync") for _ in range(4)]
        (trouble,) = daemon.status()["troubles"]
        kept = [mail.uidl for mail in server.mails]
        is_broken = False
        daemon.sync()

        assert (first.returncode, first.stdout) == (1, "")
        assert first.stderr == "messages set aside: 1; see syncd status\n"
        assert "isp/INBOX" in shown
        assert "the server refused RETR" in shown
        assert "\x1b" not in shown
        assert {ended.returncode for ended in often} == {1}
        assert (trouble["uid"], trouble["error"]) == (None, "the server refused RETR")
        assert kept == ["uidl-1"]
        assert server.mails == []
    assert len(files(tmp_path / "laptop", "isp.INBOX")) == 3
    assert daemon.status()["troubles"] == []


def test_message_above_the_limit_is_told_and_stays_in_the_maildrop(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """Nobody waits in vain for a message that syncd was told to leave; once it is gone, so is the trouble."""
    with maildrop() as server:
        server.mails[1].size = 30_000_000
        daemon = make_daemon({"isp": scripted_account(server, max_message_size="20MB")}, devices=("laptop",))

        ended, shown = daemon.syncd("sync"), daemon.syncd("status").stdout
        kept = [mail.uidl for mail in server.mails]
        server.mails.clear()
        daemon.sync()

    assert ended.returncode == 1
    assert "the message is larger than max_message_size allows" in shown
    assert "not again by itself" in shown
    assert kept == ["uidl-1"]
    assert len(files(tmp_path / "laptop", "isp.INBOX")) == 2
    assert daemon.status()["troubles"] == []


def test_message_that_breaks_the_session_is_named_in_the_end(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """The others are taken in spite of it; nothing is deleted that was not stored."""

    def break_it(session: Session, line: str) -> Reply | None:
        is_it = line.startswith("RETR ") and server.mails[int(line[5:]) - 1].uidl == "uidl-1"
        return CUT if is_it else None

    with maildrop(break_it) as server:
        daemon = make_daemon({"isp": scripted_account(server)}, devices=("laptop",))

        ended = [daemon.syncd("sync") for _ in range(3)]
        shown = daemon.syncd("status").stdout

        assert {each.returncode for each in ended} == {1}
        assert ended[0].stderr.startswith("account isp: the server closed the connection")
        assert "isp/INBOX" in shown
        assert [mail.uidl for mail in server.mails] == ["uidl-1"]
    assert len(files(tmp_path / "laptop", "isp.INBOX")) == 2


@pytest.mark.parametrize(
    ("command", "octets", "said"),
    [
        ("STAT", b"\x1b]0;owned\x07\xff\x00\r\n", "neither +OK nor -ERR"),
        ("UIDL", b"+OK\r\n1 " + b"u" * 40_000_000, "a multi-line answer exceeds its limit"),
        ("LIST", b"+OK\r\n1 1", "the server closed the connection"),
        ("QUIT", b"-ERR \x1b[31msome deleted messages not removed\r\n", "the server refused QUIT"),
    ],
)
def test_answer_that_is_none_is_told_and_loses_nothing(
    dovecot: Dovecot,
    mail_user: str,
    make_daemon: MakeDaemon,
    tmp_path: Path,
    command: str,
    octets: bytes,
    said: str,
) -> None:
    """Garbage, an answer without end, half an answer, a refused QUIT: the account says so, the other one is served."""
    deliver(dovecot, mail_user, 2)
    is_broken = True

    def break_it(_: Session, line: str) -> Reply | None:
        if not is_broken or line.split(maxsplit=1)[0] != command:
            return None
        return Reply(octets, CUT.then if command == "LIST" else Reply().then)

    with maildrop(break_it, capabilities="UIDL USER") as server:
        accounts = {"isp": scripted_account(server), "work": imap_account(dovecot, mail_user)}
        daemon = make_daemon(accounts, devices=("laptop",))

        ended = daemon.syncd("sync")
        shown = daemon.syncd("status").stdout
        is_broken = False
        daemon.sync()

        assert server.mails == []
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"account isp: {said}")
    assert said in shown
    assert "\x1b" not in ended.stderr + shown
    assert len(files(tmp_path / "laptop", "work.INBOX")) == 2
    assert len(files(tmp_path / "laptop", "isp.INBOX")) == 3
    assert daemon.account("isp")["error"] is None
