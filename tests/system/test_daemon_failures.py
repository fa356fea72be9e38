"""What goes wrong around a daemon: it stays where it is, is shown, is tried again, and is over when it is over."""

import base64
import random
import resource
import socket
from collections.abc import Callable
from pathlib import Path

from tests.servers.daemon import Daemon, wait_until
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_ports
from tests.system.mail import deliver, files, imap_account, letter, mark_seen, pop3_account, seen

MakeDaemon = Callable[..., Daemon]


def test_refused_login_and_unreachable_server_do_not_stop_another_account(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Two accounts fail, each with its reason and its next try in status; the third is served all the while."""
    deliver(dovecot, mail_user, 2)
    accounts = {
        "wrong": imap_account(dovecot, f"{mail_user}w", password="not-the-one"),
        "away": pop3_account(dovecot, f"{mail_user}a", port=free_ports(1)[0]),
        "work": imap_account(dovecot, mail_user),
    }

    with make_daemon(accounts) as daemon:
        wait_until(lambda: len(files(tmp_path / "laptop", "work.INBOX")) == 2, 30, "the good account is served")
        wait_until(lambda: all(daemon.account(name)["retry_at"] for name in ("wrong", "away")), 30, "both failed")
        wrong, away, work = (daemon.account(name) for name in ("wrong", "away", "work"))
        asked = daemon.syncd("sync", "work")
        deliver(dovecot, mail_user, 1, first=2)
        wait_until(lambda: len(files(tmp_path / "laptop", "work.INBOX")) == 3, 30, "it still is")

    assert "login" in wrong["error"] or "credentials" in wrong["error"] or "password" in wrong["error"]
    assert wrong["retry_at"] - wrong["failed_at"] > 600, "a refused login is not tried again soon"
    assert away["retry_at"] - away["failed_at"] < 60
    assert (wrong["lag_s"], wrong["failures"]) == (None, 1)
    assert work["error"] is None
    assert asked.returncode == 0, asked.stderr
    remembered = daemon.account("wrong")
    assert (remembered["error"], remembered["doing"]) == (wrong["error"], "not running")


def test_account_is_served_again_when_its_server_is_back(
    make_dovecot: Callable[..., Dovecot], mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """While the server is away devices' changes wait, and nothing of them is lost."""
    server = make_dovecot()
    deliver(server, mail_user, 3)

    with make_daemon({"work": imap_account(server, mail_user)}) as daemon:
        daemon.sync()
        server.stop()
        wait_until(lambda: daemon.account("work")["error"], 30, "the failure is shown")
        mark_seen(files(tmp_path / "laptop", "work.INBOX")[0])
        server.start()
        wait_until(lambda: daemon.account("work")["error"] is None, 60, "the account is served again")
        wait_until(lambda: seen(tmp_path / "phone", "work.INBOX") == 1, 30, "the change reached everybody")

    with server.imap(mail_user) as client:
        client.select("INBOX", readonly=True)
        assert len(client.search(None, "SEEN")[1][0].split()) == 1


def test_corrected_password_is_used_at_the_next_request(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """A password that was refused is asked for anew, and whoever asks for a sync need not wait for the retry."""
    password_file = tmp_path / "password"
    password_file.write_text("wrong-so-far\n")
    password_file.chmod(0o600)
    account = imap_account(dovecot, mail_user)
    del account["password"]
    deliver(dovecot, mail_user, 1)

    with make_daemon({"work": {**account, "password_file": str(password_file)}}) as daemon:
        assert daemon.syncd("sync").returncode == 1
        password_file.write_text(f"{dovecot.password}\n")
        daemon.sync()

        assert len(files(tmp_path / "laptop", "work.INBOX")) == 1
        assert daemon.account("work")["error"] is None


def test_account_that_became_another_one_is_held_and_the_rest_goes_on(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Under a changed user the old mail stays as it is: the account is held with a reason, the others are served."""
    deliver(dovecot, mail_user, 2)
    deliver(dovecot, f"{mail_user}o", 1)
    accounts = {"work": imap_account(dovecot, mail_user), "other": imap_account(dovecot, f"{mail_user}o")}
    daemon = make_daemon(accounts)
    daemon.sync()
    roots = {device: {"path": str(tmp_path / device)} for device in ("laptop", "phone")}
    accounts["work"] = imap_account(dovecot, f"{mail_user}x")
    daemon.configure({"accounts": accounts, "devices": roots})
    deliver(dovecot, f"{mail_user}o", 1, first=1)

    ended = daemon.syncd("sync")

    assert ended.returncode == 1
    assert (
        "account work: it is another server or user than the one that the mail of this account came from"
        in ended.stderr
    )
    assert len(files(tmp_path / "laptop", "work.INBOX")) == 2
    assert len(files(tmp_path / "laptop", "other.INBOX")) == 2


def test_device_that_is_away_waits_and_the_others_are_served(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """An unmounted disk is no deletion: the device is shown as away and is served again when it is back."""
    deliver(dovecot, mail_user, 2)

    with make_daemon({"work": imap_account(dovecot, mail_user)}) as daemon:
        daemon.sync()
        (tmp_path / "phone").rename(tmp_path / "elsewhere")
        (tmp_path / "phone").mkdir()
        asked = daemon.syncd("sync")
        away = daemon.device("phone")
        deliver(dovecot, mail_user, 1, first=2)
        wait_until(lambda: len(files(tmp_path / "laptop", "work.INBOX")) == 3, 30, "the other device is served")
        (tmp_path / "phone").rmdir()
        (tmp_path / "elsewhere").rename(tmp_path / "phone")
        daemon.sync()
        back = daemon.device("phone")

    assert asked.returncode == 1
    assert "device phone: " in asked.stderr
    assert (away["state"], bool(away["error"])) == ("away", True)
    assert (back["state"], back["error"]) == ("active", None)
    assert len(files(tmp_path / "phone", "work.INBOX")) == 3


def test_store_that_is_no_store_ends_the_daemon_with_one_sentence(make_daemon: MakeDaemon) -> None:
    """Nobody can go on without a store, and nothing of the file is changed."""
    daemon = make_daemon({})
    daemon.store.write_text("this is a text, and quite a long one, so that it cannot be taken for an empty database")

    ended = daemon.syncd("run")

    assert ended.returncode == 1
    assert ended.stderr == "syncd: the file of the store is no database; syncd doctor says which, and what to do\n"
    assert daemon.store.read_text().startswith("this is a text")
    assert not daemon.socket.exists()


def test_store_that_can_no_longer_be_written_ends_the_daemon_and_nothing_is_lost(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """On a full disk it says so and exits 1, so that its service manager knows; with room again it goes on."""
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)})
    daemon.start()
    daemon.sync()
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (200_000, 200_000))
    noise = base64.encodebytes(random.Random(1).randbytes(600_000)).replace(b"\n", b"\r\n")
    dovecot.deliver(mail_user, "INBOX", letter(0) + noise)

    code = daemon.wait(30)

    assert code == 1
    assert daemon.log().splitlines()[-1].startswith("syncd: the disk of the store ")
    assert not daemon.socket.exists()
    assert daemon.account("work")["lag_s"] is not None
    daemon.sync()
    assert [file.stat().st_size > 600_000 for file in files(tmp_path / "laptop", "work.INBOX")] == [True]


def test_server_that_never_answers_does_not_delay_the_end(make_daemon: MakeDaemon) -> None:
    """A connection in the making is given up at once when the daemon is told to end."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        account = {
            "type": "imap",
            "host": "127.0.0.1",
            "port": silent.getsockname()[1],
            "tls": "none",
            "username": "ana",
            "password": "whatever-it-is",
        }
        with make_daemon({"work": account}) as daemon:
            wait_until(lambda: daemon.account("work")["doing"] == "connecting", 30, "it waits for the greeting")

            assert daemon.stop() == 0
            assert "cut_short" not in daemon.log()
