"""The daemon as a process, on a real Dovecot: it serves, it is alone, it ends, and it goes on after a kill."""

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

from tests.servers.daemon import Daemon, wait_until
from tests.servers.dovecot import Dovecot
from tests.soak.samples import switches_of
from tests.system.mail import deliver, files, imap_account, mark_seen, pop3_account, seen

MakeDaemon = Callable[..., Daemon]


def test_started_daemon_brings_mail_to_every_device_and_reports_it(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Nobody has to ask: once it runs, what is on the servers is on the devices, and status says so."""
    deliver(dovecot, mail_user, 20)
    deliver(dovecot, f"{mail_user}p", 3)
    accounts = {"work": imap_account(dovecot, mail_user), "isp": pop3_account(dovecot, f"{mail_user}p")}

    with make_daemon(accounts, is_made=False) as daemon:
        for device in ("laptop", "phone"):
            wait_until(lambda d=device: len(files(tmp_path / d, "work.INBOX")) == 20, 30, "all mail is delivered")
            wait_until(lambda d=device: len(files(tmp_path / d, "isp.INBOX")) == 3, 30, "POP3 mail is delivered")
        wait_until(lambda: daemon.account("work")["doing"] == "idle", 30, "the account is at rest")
        wait_until(lambda: all(one["waiting"] == 0 for one in daemon.status()["devices"]), 30, "nothing waits")
        status = daemon.status()

    assert daemon_of(status)["pid"] > 0
    work, isp = status["accounts"]
    assert (work["name"], work["news"]["pushed"], work["error"]) == ("work", "INBOX", None)
    assert work["lag_s"] < 60
    assert (isp["name"], isp["news"]["why_polled"], isp["error"]) == ("isp", "pop3", None)
    laptop = status["devices"][0]
    assert (laptop["name"], laptop["state"], laptop["lag_s"], laptop["error"]) == ("laptop", "active", 0, None)
    inboxes = {one["account"]: one for one in laptop["replicas"] if one["mailbox"] == "INBOX"}
    assert (inboxes["work"]["on_server"], inboxes["work"]["delivered"]) == (20, 20)
    assert (inboxes["isp"]["on_server"], inboxes["isp"]["delivered"]) == (3, 3)
    assert status["troubles"] == []


def test_message_read_on_one_device_is_read_everywhere(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """A renamed file reaches server and other devices by itself."""
    deliver(dovecot, mail_user, 3)

    with make_daemon({"work": imap_account(dovecot, mail_user)}) as daemon:
        daemon.sync()
        mark_seen(files(tmp_path / "phone", "work.INBOX")[0])
        wait_until(lambda: seen(tmp_path / "laptop", "work.INBOX") == 1, 10, "the other device has it")

    with dovecot.imap(mail_user) as client:
        client.select("INBOX", readonly=True)
        assert len(client.search(None, "SEEN")[1][0].split()) == 1


def test_new_file_is_sent_and_a_deleted_one_is_deleted_everywhere(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """What a device did is so on the server and the other devices, and nothing of it is left to sync."""
    deliver(dovecot, mail_user, 5)

    with make_daemon({"work": imap_account(dovecot, mail_user)}) as daemon:
        daemon.sync()
        mine = files(tmp_path / "phone", "work.INBOX")
        mine[0].unlink()
        (mine[1].parent / "1700000000.own.host").write_bytes(b"Subject: own\n\nown\n")
        laptop = tmp_path / "laptop"
        sent = len("Subject: own\n\nown\n")  # by its size, for any file may go or be renamed while they are looked at
        wait_until(lambda: any(f"S={sent}," in path.name for path in files(laptop, "work.INBOX")), 15, "it is sent")
        daemon.sync()
        assert unsynced(daemon, "phone") == {"new": 0, "missing": 0, "deleted": 0, "edited": 0}

    assert len(files(laptop, "work.INBOX")) == 5
    with dovecot.imap(mail_user) as client:
        assert client.select("INBOX", readonly=True)[1] == [b"5"]


def test_second_daemon_on_a_store_says_so_and_ends(dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon) -> None:
    """One daemon a store: the second names the first in one sentence, exits 1, and disturbs nothing."""
    with make_daemon({"work": imap_account(dovecot, mail_user)}) as daemon:
        second = daemon.syncd("run")

        assert second.returncode == 1
        assert f"another syncd (pid {daemon.pid}) owns the store" in second.stderr
        assert len(second.stderr.splitlines()) == 1
        assert daemon.request("GET", "/health")[0] == 200


def test_another_store_with_the_socket_of_a_running_daemon_is_refused(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """A socket that answers is somebody's; it is never taken away from them."""
    with make_daemon({"work": imap_account(dovecot, mail_user)}) as first:
        second = Daemon(tmp_path / "second", {"daemon": {"socket": str(first.socket)}})
        ended = second.syncd("run")
        second.discard()

        assert ended.returncode == 1
        assert "another daemon answers on the socket" in ended.stderr
        assert first.request("GET", "/health")[0] == 200


def test_sigterm_in_the_middle_of_a_first_sync_ends_it_in_time_and_nothing_is_lost(
    make_dovecot: Callable[..., Dovecot], mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Under load it ends within five seconds, exit code 0, socket removed, store usable; the next run completes."""
    server = make_dovecot()
    deliver(server, mail_user, 3000)
    daemon = make_daemon({"work": imap_account(server, mail_user)}, log_level="debug")
    daemon.start()
    wait_until(lambda: files(tmp_path / "laptop", "work.INBOX"), 30, "delivery has begun")

    began = time.monotonic()
    code = daemon.stop()

    assert time.monotonic() - began < 5
    assert code == 0
    assert '"event": "daemon_stopped"' in daemon.log()
    assert "abandoned" not in daemon.log()
    assert "cut_short" not in daemon.log()
    assert not daemon.socket.exists()
    assert not list(tmp_path.glob("*/.work.INBOX/tmp/*"))
    daemon.sync()
    for device in ("laptop", "phone"):
        assert len(files(tmp_path / device, "work.INBOX")) == 3000


def test_killed_daemon_goes_on_where_it_was(
    make_dovecot: Callable[..., Dovecot], mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """After kill -9 a stale socket is replaced, and nothing is missing or there twice."""
    server = make_dovecot()
    deliver(server, mail_user, 1500)
    daemon = make_daemon({"work": imap_account(server, mail_user)})
    daemon.start()
    wait_until(lambda: len(files(tmp_path / "phone", "work.INBOX")) > 100, 30, "delivery is under way")
    daemon.kill()
    assert daemon.socket.exists()
    assert daemon.status()["daemon"] is None

    with daemon:
        daemon.sync()

        for device in ("laptop", "phone"):
            assert len(files(tmp_path / device, "work.INBOX")) == 1500


def test_daemon_at_rest_does_nothing(
    make_dovecot: Callable[..., Dovecot], mail_user: str, make_daemon: MakeDaemon
) -> None:
    """Once all is synced it sleeps: no loop turns, no thread polls, also while somebody waits for the next try."""
    server = make_dovecot()
    deliver(server, mail_user, 10)
    accounts = {
        "work": imap_account(server, mail_user),
        "isp": pop3_account(server, f"{mail_user}p"),
        "wrong": imap_account(server, f"{mail_user}w", password="not-the-one"),
    }
    with make_daemon(accounts) as daemon:
        daemon.syncd("sync")
        # NOTE: who asked for the sync waits for no listening connection, which is made soon after.
        wait_until(lambda: rests_for(3, daemon.pid), 20, "the daemon rests")


def rests_for(seconds: float, pid: int) -> bool:
    began, before, woken = time.monotonic(), processor_s(pid), switches_of(pid)
    wait_until(lambda: time.monotonic() - began > seconds, seconds + 5, f"{seconds} seconds have passed")
    return processor_s(pid) - before < 0.6 and switches_of(pid) - woken < 100


def test_socket_and_store_are_for_the_owner_only(dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon) -> None:
    """Nobody else can ask the daemon or read the mail, whatever the umask."""
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)}, is_made=False)
    before = os.umask(0)
    try:
        daemon.start()
    finally:
        os.umask(before)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (daemon.socket, daemon.store)}
    assert modes == {"syncd.sock": 0o600, "syncd.db": 0o600}
    assert stat.S_IMODE(daemon.socket.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(daemon.store.with_name("syncd.db.spool").stat().st_mode) == 0o700
    assert daemon.stop() == 0
    assert not daemon.store.with_name("syncd.db.spool").exists()


def test_daemon_keeps_its_store_in_postgresql(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path, postgres_url: str
) -> None:
    """With the database of a server everything is as with a file: alone, served, readable while down."""
    deliver(dovecot, mail_user, 20)
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)})
    device = {"laptop": {"path": str(tmp_path / "laptop")}}
    store = {"url": postgres_url, "auto_migrate": True}
    daemon.configure({"store": store, "accounts": {"work": imap_account(dovecot, mail_user)}, "devices": device})

    with daemon:
        daemon.sync()
        second = daemon.syncd("run")

    assert len(files(tmp_path / "laptop", "work.INBOX")) == 20
    assert second.returncode == 1
    assert "another syncd" in second.stderr
    assert sum(one["delivered"] for one in daemon.device("laptop")["replicas"]) == 20


def test_file_in_the_place_of_the_socket_is_not_removed(make_daemon: MakeDaemon) -> None:
    """Only a socket that nobody answers on is replaced."""
    daemon = make_daemon({})
    daemon.socket.parent.mkdir()
    daemon.socket.write_text("mine")

    ended = daemon.syncd("run")

    assert ended.returncode == 1
    assert "something else has that name" in ended.stderr
    assert daemon.socket.read_text() == "mine"


def test_requests_that_are_not_understood_are_refused_and_do_no_harm(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon
) -> None:
    """Bad input gets a reason and a 4xx, and the daemon goes on."""
    with make_daemon({"work": imap_account(dovecot, mail_user)}) as daemon:
        unknown = daemon.request("POST", "/sync", b'{"accounts": ["nobody"]}')
        malformed = daemon.request("POST", "/sync", b'{"accounts": 7}')
        long = daemon.request("POST", "/sync", b" " * 100_000)
        elsewhere = daemon.request("GET", "/nowhere")

        assert (unknown[0], json.loads(unknown[1])["error"]) == (400, "there is no account nobody")
        assert (malformed[0], long[0], elsewhere[0]) == (400, 413, 404)
        assert daemon.request("GET", "/health")[0] == 200


def processor_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def daemon_of(status: dict[str, object]) -> dict[str, int]:
    found = status["daemon"]
    assert isinstance(found, dict)
    return found


def unsynced(daemon: Daemon, device: str) -> dict[str, int]:
    replicas = daemon.device(device)["replicas"]
    return {kind: sum(one[kind] for one in replicas) for kind in ("new", "missing", "deleted", "edited")}
