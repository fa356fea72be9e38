"""`syncd sync` and `syncd plan` as processes, with a daemon and without."""

import json
import os
import pty
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.servers.daemon import ROOT, Daemon, wait_until
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_ports
from tests.system.mail import deliver, files, imap_account, letter, mark_seen, pop3_account, seen

MakeDaemon = Callable[..., Daemon]


def test_sync_without_a_daemon_does_everything_and_ends(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """One command brings servers and devices together, leaves nothing running, and the plan is empty."""
    deliver(dovecot, mail_user, 30)
    deliver(dovecot, f"{mail_user}p", 4)
    accounts = {"work": imap_account(dovecot, mail_user), "isp": pop3_account(dovecot, f"{mail_user}p")}
    daemon = make_daemon(accounts, is_made=False)

    first = daemon.sync()
    mark_seen(files(tmp_path / "phone", "work.INBOX")[0])
    deliver(dovecot, mail_user, 1, first=30)
    daemon.sync()

    assert (first.stdout, first.stderr) == ("everything is synced\n", "")
    for device in ("laptop", "phone"):
        assert len(files(tmp_path / device, "work.INBOX")) == 31
        assert len(files(tmp_path / device, "isp.INBOX")) == 4
        assert seen(tmp_path / device, "work.INBOX") == 1
    assert daemon.syncd("plan").stdout == "nothing to do\n"
    assert daemon.status()["daemon"] is None


def test_sync_by_the_daemon_ends_when_all_is_done(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """With a daemon the same command gives the same result; it returns only when devices have what servers have."""
    with make_daemon({"work": imap_account(dovecot, mail_user)}) as daemon:
        daemon.sync()
        deliver(dovecot, mail_user, 40)

        ended = daemon.sync()

        assert ended.stdout == "everything is synced\n"
        assert [len(files(tmp_path / device, "work.INBOX")) for device in ("laptop", "phone")] == [40, 40]


def test_named_account_is_synced_and_no_other(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """`syncd sync work` does not touch the other accounts, so that they cannot make it fail either."""
    deliver(dovecot, mail_user, 2)
    accounts = {"work": imap_account(dovecot, mail_user), "away": imap_account(dovecot, "ana", port=free_ports(1)[0])}
    daemon = make_daemon(accounts)

    said = daemon.sync("work").stdout

    assert len(files(tmp_path / "laptop", "work.INBOX")) == 2
    assert said == "everything of work is synced\n"
    assert daemon.account("away")["failures"] == 0
    assert daemon.syncd("plan").stdout == (
        "away: nothing is known yet, for its mailboxes were never listed:"
        " syncd status says why, syncd sync away tries it now\n"
    )


def test_one_sync_carries_what_a_device_did_to_pop3_mail_to_the_others(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """A deletion, a mailbox that was made there, and what was put into it, all by one command."""
    deliver(dovecot, mail_user, 4)
    daemon = make_daemon({"isp": pop3_account(dovecot, mail_user)})
    daemon.sync()
    gone, moved, *_ = files(tmp_path / "laptop", "isp.INBOX")
    for subdir in ("cur", "new", "tmp"):
        (tmp_path / "laptop" / ".isp.Lists" / subdir).mkdir(parents=True)
    moved.rename(tmp_path / "laptop" / ".isp.Lists" / "cur" / f"{moved.name}:2,S")
    (tmp_path / "laptop" / ".isp.Lists" / "cur" / "1700000000.1.laptop:2,S").write_bytes(letter(99))
    gone.unlink()

    assert daemon.sync().stdout == "everything is synced\n"

    counts = {"INBOX": 2, "Trash": 1, "Lists": 2}
    for device in ("laptop", "phone"):
        assert {name: len(files(tmp_path / device, f"isp.{name}")) for name in counts} == counts
    assert daemon.syncd("plan").stdout == "nothing to do\n"


def test_failing_account_is_named_and_the_rest_completes(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Exit code 1, one line for each failure, and everything else is synced; a refused login is tried once only."""
    deliver(dovecot, mail_user, 2)
    accounts = {
        "wrong": imap_account(dovecot, f"{mail_user}w", password="not-the-one"),
        "work": imap_account(dovecot, mail_user),
    }
    daemon = make_daemon(accounts)

    ended = daemon.syncd("sync")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert [line.split(": ")[0] for line in ended.stderr.splitlines()] == ["account wrong"]
    assert len(files(tmp_path / "laptop", "work.INBOX")) == 2
    assert daemon.account("wrong")["failures"] == 1


def test_mailbox_that_cannot_be_read_is_named_and_the_others_complete(
    make_dovecot: Callable[..., Dovecot], mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Not everything is synced then, and nobody says it were."""
    server = make_dovecot()
    deliver(server, mail_user, 2)
    deliver(server, mail_user, 2, mailbox="Old", first=2)
    (closed,) = (path for path in server.mail_dir.rglob("Old/dbox-Mails"))
    closed.chmod(0)
    daemon = make_daemon({"work": imap_account(server, mail_user)})

    ended = daemon.syncd("sync")
    closed.chmod(0o700)

    assert ended.returncode == 1
    assert ended.stderr.startswith("mailbox work/Old: ")
    assert len(files(tmp_path / "laptop", "work.INBOX")) == 2
    daemon.sync()
    assert len(files(tmp_path / "laptop", "work.Old")) == 2


def test_replica_that_is_gone_is_named_and_the_others_complete(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """A mailbox that stands still on a device is told, and the device's other mailboxes are synced all the same."""
    deliver(dovecot, mail_user, 2)
    deliver(dovecot, mail_user, 2, mailbox="Old", first=2)
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)})
    daemon.sync()
    (tmp_path / "laptop" / ".work.Old" / "cur").rename(tmp_path / "away")
    deliver(dovecot, mail_user, 1, first=4)

    ended = daemon.syncd("sync")

    assert ended.returncode == 1
    assert ended.stderr.startswith("device laptop: work/Old: ")
    assert [len(files(tmp_path / device, "work.INBOX")) for device in ("laptop", "phone")] == [3, 3]


def test_sweep_that_fails_is_told_and_the_sync_is_what_it_was(make_daemon: MakeDaemon) -> None:
    """What is wrong with sweeping the store, expected or not, is no matter of mail, and so not of the exit code."""
    daemon = make_daemon({})
    daemon.sync()
    with closing(sqlite3.connect(daemon.store)) as store, store:
        store.execute("UPDATE store SET swept_at = 'yesterday'")

    ended = daemon.syncd("sync")

    assert (ended.returncode, ended.stdout) == (0, "everything is synced\n")
    logged, told = ended.stderr.splitlines()
    assert json.loads(logged)["event"] == "sweep_failed"
    assert told == "the store could not be swept: unexpected error: ValueError; the next sync tries again"


def test_unknown_account_is_a_slip_of_usage(make_daemon: MakeDaemon) -> None:
    """A name that is not in the configuration is exit code 2, and nothing is made."""
    daemon = make_daemon({})

    ended = daemon.syncd("sync", "nobody")

    assert ended.returncode == 2
    assert "there is no account 'nobody'" in ended.stderr
    assert not daemon.store.exists()


def test_sync_means_the_same_however_it_is_typed(make_daemon: MakeDaemon) -> None:
    """What is read without the library for command lines, and what is left to it, end alike."""
    daemon = make_daemon({})
    file = str(daemon.config_file)

    def ended(*words: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "syncd", "sync", *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    plain, unknown = ended("--config", file), ended("--config", file, "nobody")

    assert (plain[0], plain[1]) == (0, "everything is synced\n")
    assert ended(f"--config={file}") == plain
    assert (unknown[0], unknown[1]) == (2, "")
    assert ended(f"--config={file}", "nobody") == unknown
    assert ended("--config")[0] == ended("--config", file, "--all")[0] == 2
    assert "ACCOUNT" in ended("--config", file, "--help")[1]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_keep_nobody_from_syncing(make_daemon: MakeDaemon, closed: str) -> None:
    """Who starts it may have closed them; what is opened then does not take their places."""
    daemon = make_daemon({})
    command = f'exec "$0" -m syncd "$@" --config "{daemon.config_file}" {closed}'

    for words in (("sync",), ("names", "accounts")):
        ended = subprocess.run(["/bin/sh", "-c", command, sys.executable, *words], cwd=ROOT, timeout=60, check=False)

        assert ended.returncode == 0, words


def test_interrupted_sync_says_so_and_the_next_goes_on(
    make_dovecot: Callable[..., Dovecot], mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Ctrl-C ends it at once in an orderly way, with exit code 1."""
    server = make_dovecot()
    deliver(server, mail_user, 1500)
    daemon = make_daemon({"work": imap_account(server, mail_user)})
    process = subprocess.Popen(
        [sys.executable, "-m", "syncd", "sync", "--config", str(daemon.config_file)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: files(tmp_path / "laptop", "work.INBOX"), 30, "delivery has begun")

    process.send_signal(signal.SIGINT)
    output, complaint = process.communicate(timeout=10)

    assert (process.returncode, output) == (1, "")
    assert complaint == "interrupted; the next sync goes on from here\n"
    daemon.sync()
    assert len(files(tmp_path / "laptop", "work.INBOX")) == 1500


def test_who_does_not_wait_for_the_daemon_is_let_go_at_once(make_daemon: MakeDaemon) -> None:
    """Ctrl-C ends the command with the code that shells have for it, whatever the daemon waits for; that goes on."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = {"host": "127.0.0.1", "port": silent.getsockname()[1], "tls": "none"}
        with make_daemon({"work": {"type": "imap", "username": "ana", "password": "secret", **where}}) as daemon:
            process = subprocess.Popen(
                [sys.executable, "-m", "syncd", "sync", "--config", str(daemon.config_file)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            wait_until(lambda: len(list(Path(f"/proc/{process.pid}/task").iterdir())) > 1, 30, "the daemon is asked")
            process.send_signal(signal.SIGINT)
            output, complaint = process.communicate(timeout=10)

            assert (process.returncode, output, complaint) == (130, "", "Aborted.\n")
            assert daemon.syncd("health").returncode == 0


def test_plan_shows_what_is_to_be_done_and_does_nothing(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """A flag and a mailbox that a device set and made while its server was away are planned, in words and as JSON."""
    deliver(dovecot, mail_user, 2)
    account = imap_account(dovecot, mail_user)
    daemon = make_daemon({"work": account})
    daemon.sync()
    mark_seen(files(tmp_path / "phone", "work.INBOX")[0])
    for subdir in ("cur", "new", "tmp"):
        (tmp_path / "phone" / ".work.Lists" / subdir).mkdir(parents=True)
    roots = {device: {"path": str(tmp_path / device)} for device in ("laptop", "phone")}
    daemon.configure({"accounts": {"work": {**account, "port": free_ports(1)[0]}}, "devices": roots})
    assert daemon.syncd("sync").returncode == 1  # sees the device's change, and cannot tell the server

    text = daemon.syncd("plan")
    report = json.loads(daemon.syncd("plan", "--json").stdout)

    assert text.returncode == 0
    made, line = text.stdout.splitlines()
    assert made == "phone: work/Lists: make the mailbox"
    assert line.startswith("phone: work/INBOX: store flags of message ")
    assert line.endswith(" +\\Seen")
    mailbox, effect = report["effects"]
    assert (mailbox["mailbox"], mailbox["effect"], mailbox["uid"]) == ("Lists", {"verb": "makemailbox"}, None)
    assert (effect["device"], effect["effect"]["verb"], effect["effect"]["add"]) == ("phone", "store", ["\\Seen"])
    assert report["is_whole"] is True
    with dovecot.imap(mail_user) as client:
        client.select("INBOX", readonly=True)
        assert client.search(None, "SEEN")[1] == [b""]


def test_plan_names_what_waits_for_a_device_that_is_away(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """The other direction: mail and flags of the server, for the one device that does not have them yet."""
    deliver(dovecot, mail_user, 1)
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)})
    daemon.sync()
    (tmp_path / "phone").rename(tmp_path / "elsewhere")
    deliver(dovecot, mail_user, 1, first=1)
    mark_seen(files(tmp_path / "laptop", "work.INBOX")[0])
    assert daemon.syncd("sync").returncode == 1

    lines = daemon.syncd("plan").stdout.splitlines()

    assert sorted(line.partition(" message ")[0] for line in lines) == [
        "phone: work/INBOX: deliver",
        "phone: work/INBOX: rename file of",
    ]
    assert not (tmp_path / "phone").exists()


def test_sync_in_a_terminal_shows_bars(dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon) -> None:
    """A person sees how far it is; the bars are gone when it is done."""
    deliver(dovecot, mail_user, 1500)
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)})

    code, shown = sync_in_terminal(daemon)

    assert code == 0
    assert re.search(rb"\d+ of 1,500 messages", shown)
    assert b"everything is synced" in shown


def test_sync_that_fails_tells_a_person_where_to_read_what_to_do(make_daemon: MakeDaemon) -> None:
    """The errors are for programs as well; what to do about them is long, and the same in status."""
    nowhere = {"type": "imap", "host": "127.0.0.1", "port": 1, "username": "ana", "password": "secret"}
    daemon = make_daemon({"work": nowhere})

    code, shown = sync_in_terminal(daemon)

    assert code == 1
    assert b"the server cannot be reached: connection refused\r\nsyncd status says what to do\r\n" in shown


def sync_in_terminal(daemon: Daemon) -> tuple[int, bytes]:
    """Return the exit code of `syncd sync` in a terminal, and what it showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "syncd", "sync", "--config", str(daemon.config_file)],
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:
        pass  # the terminal of a process that ended
    finally:
        os.close(ours)

    return process.wait(timeout=60), shown
