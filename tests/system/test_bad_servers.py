"""What goes wrong with an IMAP server: told where and what, nothing lost, and the other accounts go on.

Real servers as far as they can be brought to it; a tap in between, or a script, for what no real server does.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.contract.sync.tap import Tap
from tests.servers.daemon import Daemon, wait_until
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_ports
from tests.system.background import in_background
from tests.system.mail import deliver, files, imap_account, letter, pop3_account
from tests.unit.imap.scripted import Peer, Script, serve

MakeDaemon = Callable[..., Daemon]
NOWHERE = "no-such-host.invalid"
NO_REASON_TO_WAIT = "; waiting does not help"


# Before any mail is seen.


def test_every_way_not_to_get_in_is_told_in_words_and_the_others_are_served(
    dovecot: Dovecot,
    mail_user: str,
    make_dovecot: Callable[..., Dovecot],
    make_daemon: MakeDaemon,
    tmp_path: Path,
) -> None:
    """Wrong password, nobody there, no trust, no TLS, by both protocols: the same words, and whether waiting helps."""
    plain = make_dovecot(tls=False)
    deliver(dovecot, mail_user, 2)
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text("no certificate")
    ways: dict[str, tuple[dict[str, object], str]] = {
        "wrong": ({"password": "not-the-one"}, f"login refused by the server{NO_REASON_TO_WAIT}"),
        "closed": ({"port": free_ports(1)[0]}, "the server cannot be reached: connection refused"),
        "nowhere": (
            {"host": NOWHERE, "tls": "implicit"},
            "the server cannot be reached: its name cannot be looked up",
        ),
        "untrusted": (
            {"tls": "implicit", "port": "tls"},
            "the server's certificate is not trusted: unable to get local issuer certificate" + NO_REASON_TO_WAIT,
        ),
        "untrusted-later": (
            {"tls": "starttls"},
            "the server's certificate is not trusted: unable to get local issuer certificate" + NO_REASON_TO_WAIT,
        ),
        "no-authority": (
            {"tls": "implicit", "port": "tls", "ca_file": str(tmp_path / "none.pem")},
            f"the file of ca_file cannot be used: no such file or directory{NO_REASON_TO_WAIT}",
        ),
        "bad-authority": (
            {"tls": "implicit", "port": "tls", "ca_file": str(ca_file)},
            f"the file of ca_file cannot be used: no certificate in it{NO_REASON_TO_WAIT}",
        ),
        "no-starttls": (
            {"tls": "starttls", "port": "plain"},
            f"the server does not offer encryption on this port{NO_REASON_TO_WAIT}",
        ),
        "no-tls": (
            {"tls": "implicit", "port": "plain"},
            "no encrypted connection could be agreed on with the server; does this port speak TLS?",
        ),
    }
    ports = {
        "imap": {"tls": dovecot.imaps_port, "plain": plain.imap_port},
        "pop3": {"tls": dovecot.pop3s_port, "plain": plain.pop3_port},
    }
    accounts: dict[str, object] = {"work": imap_account(dovecot, mail_user)}
    for kind, account in (("imap", imap_account), ("pop3", pop3_account)):
        for number, (name, (keys, _)) in enumerate(ways.items()):
            port = keys.get("port")
            known = {"port": ports[kind][port]} if isinstance(port, str) else {}
            accounts[f"{kind}-{name}"] = account(dovecot, f"{mail_user}{kind}{number}", **{**keys, **known})

    daemon = make_daemon(accounts, devices=("laptop",))
    ended = daemon.syncd("sync")
    stored = {one["name"]: one["error"] for one in daemon.status()["accounts"]}
    with daemon:
        wait_until(lambda: all(daemon.account(name)["retry_at"] for name in accounts if name != "work"), 60, "all fail")
        running = {one["name"]: one for one in daemon.status()["accounts"]}

    told = dict(line.removeprefix("account ").split(": ", 1) for line in ended.stderr.splitlines())
    assert ended.returncode == 1
    assert told.keys() == accounts.keys() - {"work"}
    for name, said in told.items():
        assert without_details(said) == ways[name.partition("-")[2]][1]
        assert stored[name] == said
        assert running[name]["error"] == said
        wait_s = running[name]["retry_at"] - running[name]["failed_at"]
        assert (wait_s > 600) == said.endswith(NO_REASON_TO_WAIT), name
    assert (stored["work"], running["work"]["error"]) == (None, None)
    assert len(files(tmp_path / "laptop", "work.INBOX")) == 2


def without_details(said: str) -> str:
    """Return an error without what only one of the protocols says of a login."""
    return said.replace(': "Authentication failed."', "").replace(" (AUTH)", "")


# Answers that are none.


def after_login(*answers: bytes, then: bytes = b"") -> Script:
    """Return a server that lets anybody in and then says this, the last of it again and again."""

    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.command()
        for answer in answers:
            await peer.send(answer)
        while then:
            await peer.send(then)
        peer.writer.close()

    return script


def at_the_door(greeting: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.send(greeting)
        peer.writer.close()

    return script


ANSWERS: dict[str, tuple[Script, str]] = {
    "silent": (at_the_door(b""), "the server closed the connection"),
    "other": (at_the_door(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "the server sent a line that is no response"),
    "bye": (
        at_the_door(b"* BYE \x1b]0;owned\x07\x9b31mask ana@example.org\r\n"),
        'the server turned the connection away: "?]0;owned??31mask <address>"',
    ),
    "garbage": (after_login(b"\x1b[2J\xff\x00 no answer\r\n"), "the server sent a line that is no response"),
    "truncated": (after_login(b'* LIST (\\HasNoChildren) "/" Arch'), "the server closed the connection"),
    "oversized": (
        after_login(b'* LIST () "/" {9999999999}\r\n'),
        "the server announced a literal that is malformed",
    ),
    "endless": (after_login(then=b"x" * 65536), "the server sent a line beyond our limit"),
}


def test_answer_that_is_none_is_told_and_the_other_account_is_served(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Each account says what its server did, with nothing in it that a terminal obeys; it is tried again later."""
    is_up = threading.Event()

    def once_up(script: Script) -> Script:
        async def waiting(peer: Peer) -> None:
            while not is_up.is_set():  # noqa: ASYNC110  # another thread sets it
                await asyncio.sleep(0.01)
            await script(peer)

        return waiting

    deliver(dovecot, mail_user, 2)
    accounts: dict[str, object] = {"work": imap_account(dovecot, mail_user)}
    with ExitStack() as stack:
        for name, (script, _) in ANSWERS.items():
            served = stack.enter_context(in_background(serve(once_up(script))))
            accounts[name] = imap_account(dovecot, "ana", port=served.port)
        with make_daemon(accounts, devices=("laptop",)) as daemon:
            is_up.set()
            ended = daemon.syncd("sync")
            shown, bad = daemon.syncd("status").stdout, {name: daemon.account(name) for name in ANSWERS}

    # NOTE: what takes more than ten seconds is told to be under way first.
    told = dict(line.removeprefix("account ").split(": ", 1) for line in ended.stderr.splitlines() if ": " in line)
    assert (ended.returncode, ended.stdout) == (1, "")
    for name, (_, said) in ANSWERS.items():
        assert told[name].startswith(said)
        assert bad[name]["error"].startswith(said)
        assert bad[name]["retry_at"] is not None
    assert not set(ended.stderr + shown + daemon.log()) & set("\x1b\x07\x9b\x00")
    assert "ana@example.org" not in ended.stderr + shown + daemon.log()
    assert len(files(tmp_path / "laptop", "work.INBOX")) == 2


# One mailbox, one message.


@contextmanager
def tapped(dovecot: Dovecot, **hooks: Any) -> Iterator[Tap]:
    """Serve a Dovecot through a tap with these hooks."""
    with in_background(Tap(dovecot.imap_port)) as tap:
        for name, hook in hooks.items():
            setattr(tap, name, hook)
        yield tap


def asks_for_second(line: bytes) -> bool:
    """Tell whether the body of UID 2 is asked for, alone or among others; only INBOX has one."""
    return b"BODY.PEEK[]" in line and (b"FETCH 2 " in line or b"FETCH 1:3 " in line)


def without_second(line: bytes) -> bytes:
    if not asks_for_second(line):
        return line
    return line.replace(b"FETCH 1:3 ", b"FETCH 1,3 ").replace(b"FETCH 2 ", b"FETCH 99 ")


def instead(row: bytes) -> Callable[[bytes], bytes]:
    return lambda line: row if asks_for_second(line) else b""


HALF = b"* 2 FETCH (UID 2 BODY[] {22}\r\nSubject: only a part\r\n)\r\n"
CUT = b"* 2 FETCH (UID 2 BODY[] {500}\r\nSubject: only a part\r\n"
HUGE = b"* 2 FETCH (UID 2 BODY[] {99999999999}\r\nSubject: huge\r\n"


ODD_MESSAGES: dict[str, tuple[dict[str, Any], str]] = {
    "no": ({"refuses": asks_for_second}, 'the server refused to give the message: "not this"'),
    "nil": (
        {"alters": without_second, "precedes": instead(b"* 2 FETCH (UID 2 BODY[] NIL)\r\n")},
        "the server gave NIL instead of the message",
    ),
    "nothing": ({"alters": without_second}, "the server lists the message but did not give it"),
    "half": (
        {"alters": without_second, "precedes": instead(HALF)},
        "the server gave only 22 of 1,014 bytes of the message",
    ),
    "cut": (
        {"drops": asks_for_second, "precedes": instead(CUT)},
        "the connection ended in the middle of the message: the server closed the connection",
    ),
    "huge": ({"precedes": instead(HUGE)}, "the connection ended in the middle of the message: the server announced"),
    "garbage": (
        {"precedes": instead(b"\x1b[2J\xff garbage\r\n")},
        "the connection ended in the middle of the message: the",
    ),
}


def test_message_that_does_not_come_whole_is_set_aside_and_holds_up_nothing(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """The message is named with the reason and the next try; all others come; when it comes whole, all is well."""
    with ExitStack() as stack:
        taps = {name: stack.enter_context(tapped(dovecot, **hooks)) for name, (hooks, _) in ODD_MESSAGES.items()}
        accounts: dict[str, object] = {}
        for name, tap in taps.items():
            for number in range(3):
                dovecot.deliver(mail_user + name, "INBOX", letter(number, body_bytes=1000))
            deliver(dovecot, mail_user + name, 1, mailbox="Old", first=3)
            accounts[name] = imap_account(dovecot, mail_user + name, port=tap.port)
        daemon = make_daemon(accounts, devices=("laptop",))

        ended = daemon.syncd("sync")
        troubles = {one["account"]: one for one in daemon.status()["troubles"]}
        shown = daemon.syncd("status").stdout
        came = [len(files(tmp_path / "laptop", f"{name}.{box}")) for name in taps for box in ("INBOX", "Old")]
        for tap in taps.values():
            for name in ("refuses", "alters", "precedes", "drops"):
                setattr(tap, name, getattr(Tap(0), name))
        daemon.sync()

    assert (ended.returncode, ended.stderr) == (1, f"messages set aside: {len(taps)}; see syncd status\n")
    assert troubles.keys() == taps.keys()
    for name, trouble in troubles.items():
        assert (trouble["mailbox"], trouble["uid"]) == ("INBOX", 2)
        assert trouble["error"].startswith(ODD_MESSAGES[name][1])
        assert trouble["retry_at"] is not None
        assert f"{name}/INBOX" in shown
    assert "\x1b" not in shown
    assert came == [2, 1] * len(taps)
    assert [len(files(tmp_path / "laptop", f"{name}.INBOX")) for name in taps] == [3] * len(taps)
    assert daemon.status()["troubles"] == []


def test_mailbox_that_ends_every_connection_is_named_and_the_others_are_served(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """A mailbox whose selection breaks the connection is left for later, and read when it can be."""
    for number, mailbox in enumerate(("A", "B", "INBOX", "Z")):
        deliver(dovecot, mail_user, 1, mailbox=mailbox, first=number)

    def selects_a(line: bytes) -> bool:
        return b" SELECT " in line and line.split()[2].strip(b'"') == b"A"

    with tapped(dovecot, drops=selects_a) as tap:
        daemon = make_daemon({"work": imap_account(dovecot, mail_user, port=tap.port)}, devices=("laptop",))
        ended = daemon.syncd("sync")
        shown = daemon.syncd("status").stdout
        came = [len(files(tmp_path / "laptop", f"work.{box}")) for box in ("A", "B", "INBOX", "Z")]
        tap.drops = lambda _: False
        daemon.sync()

    assert (ended.returncode, ended.stderr) == (1, "mailbox work/A: the server closed the connection\n")
    assert "work/A: the server closed the connection" in shown
    assert came == [0, 1, 1, 1]
    assert [len(files(tmp_path / "laptop", f"work.{box}")) for box in ("A", "B", "INBOX", "Z")] == [1, 1, 1, 1]


def test_mailbox_names_that_lead_elsewhere_stay_inside_and_are_shown_as_text(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Dots, slashes, escapes and names without end: each a directory below the root, or named; others go on."""
    evil = [b"../../escape", b"/etc/escape", b"..", b"a/../../escape", b"~root", b"evil&ABs-[2J", b"evil&AAo-line"]
    rows = b"".join(b'* LIST (\\HasNoChildren) "/" "%b"\r\n' % name for name in (*evil, b"x" * 5000))
    deliver(dovecot, mail_user, 1)
    deliver(dovecot, mail_user, 1, mailbox="Old", first=1)

    def to_old(line: bytes) -> bytes:
        tag, _, rest = line.partition(b" ")
        is_evil = rest.startswith(b"SELECT ") and any(b'"%b"' % name in rest for name in evil)
        return tag + b" SELECT Old" + (b" (CONDSTORE)\r\n" if b"(CONDSTORE)" in rest else b"\r\n") if is_evil else line

    with tapped(dovecot, alters=to_old, precedes=lambda line: rows if b" LIST " in line else b"") as tap:
        accounts = {"work": imap_account(dovecot, mail_user, port=tap.port)}
        daemon = make_daemon(accounts, devices=("devices/laptop",))
        outside = {path for path in tmp_path.rglob("*") if not path.is_relative_to(daemon.directory)}
        ended = daemon.syncd("sync")
        shown = daemon.syncd("status", "--mailboxes").stdout

    made = {path for path in tmp_path.rglob("*") if not path.is_relative_to(daemon.directory)} - outside
    of_device, of_mailbox = ended.stderr.splitlines()
    assert {path.relative_to(tmp_path).parts[:2] for path in made} == {("devices",), ("devices", "laptop")}
    assert [len(files(tmp_path / "devices" / "laptop", f"work.{box}")) for box in ("INBOX", "Old")] == [1, 1]
    assert of_device.startswith("device laptop: work/xxxx")
    assert of_device.endswith("xxxx: the mailbox name is too long for a directory")
    assert of_mailbox.startswith("mailbox work/xxxx")
    assert max(len(of_device), len(of_mailbox)) < 300
    assert "work/../../escape" in shown
    assert "work/evil\\x1b[2J" in shown
    assert "work/evil\\nline" in shown
    assert len(shown) < 10_000
    assert not set(ended.stderr + shown) & set("\x1b\x07")
