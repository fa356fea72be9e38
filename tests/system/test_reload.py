"""A running daemon and edits of its configuration: what changed counts, and nothing else hears of it."""

import json
import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from tests.servers.daemon import Daemon, wait_until
from tests.servers.dovecot import Dovecot
from tests.system.mail import deliver, files, imap_account, mark_seen, pop3_account
from tests.system.reloading import connections, logged, put_in_place, reloaded, sync

MakeDaemon = Callable[..., Daemon]


def test_only_what_an_edit_changes_is_started_ended_or_connected_anew(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Accounts and devices come, are paused and go on where they were; who is not touched keeps its connection."""
    work, other = imap_account(dovecot, mail_user), imap_account(dovecot, f"{mail_user}o")
    isp = pop3_account(dovecot, f"{mail_user}p")
    laptop, phone = {"path": str(tmp_path / "laptop")}, {"path": str(tmp_path / "phone"), "mailboxes": ["INBOX"]}
    for user in (mail_user, f"{mail_user}o", f"{mail_user}p"):
        deliver(dovecot, user, 3)
    deliver(dovecot, mail_user, 2, mailbox="Archive", first=50)

    with make_daemon({"work": work}, devices=("laptop",)) as daemon:
        sync(daemon)
        unchanged = daemon.syncd("reload")
        assert unchanged.stdout.endswith("syncd.toml: nothing to change, what it says runs already\n")
        assert unchanged.returncode == 0

        told = reloaded(
            daemon,
            {"accounts": {"work": work, "other": other, "isp": isp}, "devices": {"laptop": laptop, "phone": phone}},
        )
        assert told == "account other: added\naccount isp: added\ndevice phone: added\n"
        sync(daemon)
        for device in ("laptop", "phone"):
            assert [len(files(tmp_path / device, f"{name}.INBOX")) for name in ("work", "other", "isp")] == [3, 3, 3]
        assert files(tmp_path / "phone", "work.Archive") == []

        wrong = {**other, "password": "not-the-one"}
        told = reloaded(
            daemon,
            {
                "accounts": {"work": {**work, "poll_interval": "1m"}, "other": wrong},
                "devices": {"laptop": laptop, "phone": {**phone, "mailboxes": ["*"]}},
                "daemon": {"log_level": "debug"},
                "store": {"retention": "9d", "auto_migrate": False},
            },
        )
        assert told.splitlines() == [
            "account isp: removed, its mail is kept",
            "account work: changed poll_interval",
            "account other: changed password",
            "device phone: changed mailboxes",
            "store.retention: changed",
            "daemon.log_level: changed",
            "store.auto_migrate: counts after a restart",
        ]
        wait_until(lambda: daemon.account("other")["error"], 20, "the wrong password is refused")
        deliver(dovecot, f"{mail_user}p", 1, first=3)
        sync(daemon, "work")
        assert len(files(tmp_path / "phone", "work.Archive")) == 2
        assert len(files(tmp_path / "laptop", "isp.INBOX")) == 3
        assert daemon.status()["config"]["at_restart"] == ["store.auto_migrate"]
        assert [one["name"] for one in daemon.status()["accounts"]] == ["work", "other"]

        both = {"laptop": laptop, "phone": phone}
        reloaded(daemon, {"accounts": {"work": work, "other": other, "isp": isp}, "devices": both})
        sync(daemon)
        assert len(files(tmp_path / "laptop", "isp.INBOX")) == 4
        assert files(tmp_path / "phone", "work.Archive") == []
        assert connections(daemon) == {"work": 1, "other": 2}
        assert "device_failed" not in daemon.log()


def test_account_that_an_edit_makes_another_one_is_held_until_it_is_put_back(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """As at a start: nothing of its mail is mixed with that of another user, and nothing is lost by the way back."""
    work, laptop = imap_account(dovecot, mail_user), {"laptop": {"path": str(tmp_path / "laptop")}}
    deliver(dovecot, mail_user, 2)

    with make_daemon({"work": work}, devices=("laptop",)) as daemon:
        sync(daemon)
        reloaded(daemon, {"accounts": {"work": imap_account(dovecot, f"{mail_user}x")}, "devices": laptop})
        wait_until(lambda: daemon.account("work")["error"], 20, "it is held")
        assert "another server or user" in daemon.account("work")["error"]
        mark_seen(files(tmp_path / "laptop", "work.INBOX")[0])
        reloaded(daemon, {"accounts": {"work": work}, "devices": laptop})
        sync(daemon)

        assert len(files(tmp_path / "laptop", "work.INBOX")) == 2
        with dovecot.imap(mail_user) as client:
            client.select("INBOX", readonly=True)
            assert len(client.search(None, "SEEN")[1][0].split()) == 1


def test_edit_that_cannot_be_used_changes_nothing_and_is_told_everywhere(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Mail goes on; log, status, service manager and `syncd reload` have each problem and its line until it is over."""
    work, laptop = imap_account(dovecot, mail_user), {"path": str(tmp_path / "laptop")}
    good = {"accounts": {"work": work}, "devices": {"laptop": laptop}}
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path.parent / f"{mail_user}.notify"))
    through = ("env", f"NOTIFY_SOCKET={manager.getsockname()}")

    with manager, make_daemon({"work": work}, devices=("laptop",), through=through) as daemon:
        sync(daemon)
        heard(manager)
        file = daemon.config_file
        bad = {"accounts": {"work": {**work, "pasword": "s3cret", "port": 99999}}, "devices": {"laptop": laptop}}
        daemon.configure(bad)
        wait_until(lambda: daemon.status()["config"]["problems"], 20, "the edit is noticed")
        problems = daemon.status()["config"]["problems"]
        told, shown = daemon.syncd("reload"), daemon.syncd("status")
        deliver(dovecot, mail_user, 2)
        wait_until(lambda: len(files(tmp_path / "laptop", "work.INBOX")) == 2, 20, "mail comes all the same")

        assert [problem.partition(": ")[2] for problem in problems] == [
            "accounts.work.port: should be less than or equal to 65535",
            'accounts.work.pasword: unknown key (did you mean "password"?)',
        ]
        assert problems[0].startswith(f"{file}:")
        assert (told.returncode, told.stderr.splitlines()[:2]) == (2, problems)
        assert all(problem in shown.stdout for problem in problems)
        assert shown.returncode == 0
        assert [one["problem"] for one in logged(daemon, "config_refused")][:2] == problems
        datagrams = heard(manager)
        assert f"READY=1\nSTATUS=the configuration cannot be used: {problems[0]}" in "\n\n".join(datagrams)
        assert "s3cret" not in f"{daemon.log()}{datagrams}{shown.stdout}{told.stderr}"

        file.write_text(f"{file.read_text()}\n[devices.phone\n")
        assert daemon.syncd("reload").returncode == 2
        assert "not TOML" in daemon.syncd("status").stdout
        assert daemon.syncd("health").returncode == 0
        heard(manager)

        put_in_place(daemon, {**good, "daemon": {"log_level": "debug"}})
        wait_until(lambda: not daemon.status()["config"]["problems"], 20, "the file that takes its place is noticed")
        assert logged(daemon, "config_reloaded")[-1]["keys"] == ["daemon.log_level"]
        begun, done = [datagram for datagram in heard(manager) if not datagram.startswith("STATUS=")]
        assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", begun)
        assert re.fullmatch(r"READY=1\nSTATUS=1 account, 1 (idle|busy); 1 device, 1 (idle|busy)", done)
        assert connections(daemon) == {"work": 1}


def test_rotated_password_is_used_at_once_and_by_its_account_alone(
    make_dovecot: Callable[..., Dovecot], make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """In a file or a credential, whether the old one was refused by then or not; its file also beside a broken edit.

    While the file is being written again it holds no other password, and its account goes on.
    """
    server = make_dovecot(tls=False)
    file, kept, credentials = tmp_path / "password", tmp_path / "kept", tmp_path / "credentials"
    credentials.mkdir()
    credential = credentials / "syncd_accounts__sealed__password"
    for place in (file, kept, credential):
        write_secret(place, server.password)
    tables = {
        name: {key: value for key, value in imap_account(server, name).items() if key != "password"} | keys
        for name, keys in (
            ("rotated", {"password_file": str(file)}),
            ("kept", {"password_file": str(kept)}),
            ("sealed", {}),
        )
    }
    environment = {"CREDENTIALS_DIRECTORY": str(credentials)}

    with make_daemon(tables, devices=("laptop",), environment=environment) as daemon:
        sync(daemon)
        server.change_password("the-next")
        file.write_text("")
        write_secret(credential, "the-next")
        wait_until(lambda: connections(daemon).get("sealed") == 2, 20, "the credential is used")
        file.unlink()
        write_secret(file, "the-next")
        wait_until(lambda: connections(daemon).get("rotated") == 2, 20, "the rotated file is used")
        assert logged(daemon, "account_failed") == []
        assert logged(daemon, "passwords_rotated")[-1]["accounts"] == ["rotated"]
        assert connections(daemon) == {"rotated": 2, "kept": 1, "sealed": 2}

        daemon.config_file.write_text("what = is this\n")
        write_secret(file, "a-slip-of-the-pen")
        wait_until(lambda: daemon.account("rotated")["error"], 20, "it is refused")
        write_secret(file, "the-next")
        wait_until(lambda: connections(daemon)["rotated"] == 3, 20, "what stood at a refused login tries at once")
        assert connections(daemon)["kept"] == 1
        refused = len(logged(daemon, "config_refused"))
        os.kill(daemon.pid, signal.SIGHUP)
        wait_until(lambda: len(logged(daemon, "config_refused")) > refused, 20, "SIGHUP has the file read again")


def write_secret(file: Path, secret: str) -> None:
    """Write a password as tools that rotate them do: another file takes the place of the one that was there."""
    new = file.with_name(f".{file.name}.new")
    new.write_text(f"{secret}\n")
    new.chmod(0o600)
    new.replace(file)


def test_configuration_in_a_mounted_directory_is_followed(make_daemon: MakeDaemon) -> None:
    """Kubernetes gives a ConfigMap as a link that it exchanges; the file itself is never written."""
    with make_daemon({}, devices=()) as daemon:
        file, directory = daemon.config_file, daemon.config_file.parent
        for number, retention in (("1", "9d"), ("2", "8d")):
            (directory / f"..{number}").mkdir()
            (directory / f"..{number}" / file.name).write_text(f'{file.read_text()}retention = "{retention}"\n')
        link_to(directory / "..data", "..1")
        link_to(file, f"..data/{file.name}")
        assert daemon.request("POST", "/reload")[0] == 200
        link_to(directory / "..data", "..2")
        wait_until(lambda: len(logged(daemon, "config_reloaded")) == 2, 20, "the exchange is noticed")

        assert [one["keys"] for one in logged(daemon, "config_reloaded")] == [["store.retention"]] * 2


def test_reload_without_a_daemon_fails_and_names_what_is_wrong(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """1 if nobody is there to be asked, 2 if the file could not be used anyway."""
    daemon = make_daemon({}, devices=())

    down = daemon.syncd("reload")
    daemon.configure({"devices": {"laptop": {"pth": str(tmp_path)}}})
    invalid = daemon.syncd("reload")

    assert (down.returncode, down.stderr) == (1, "syncd: the daemon is not running\n")
    assert invalid.returncode == 2
    assert "unknown key" in invalid.stderr


def test_key_that_counts_after_a_restart_is_named_wherever_somebody_asks(
    make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """In log, status and the answer; where the daemon cannot be found any more, who has the store is told, and why."""
    with make_daemon({}, devices=()) as daemon:
        daemon.configure({"store": {"url": f"sqlite:///{tmp_path}/other.db"}, "daemon": {"listen": "127.0.0.1:9464"}})
        told = daemon.syncd("reload").stdout.splitlines()
        seen = daemon.syncd("status").stdout
        daemon.configure({"daemon": {"socket": f"{tmp_path}/other.sock"}})
        wait_until(lambda: waiting(daemon) == ["daemon.socket"], 20, "the edit is noticed")
        commands = [daemon.syncd(command) for command in ("reload", "health", "events")]
        shown, told_json = daemon.syncd("status"), daemon.syncd("status", "--json")
        daemon.configure({})
        again, pid = daemon.syncd("reload"), daemon.pid

    assert told[1:] == ["store.url: counts after a restart", "daemon.listen: counts after a restart"]
    assert "changed, and counts after a restart only: store.url, daemon.listen" in seen
    assert logged(daemon, "config_reloaded")[0]["at_restart"] == ["store.url", "daemon.listen"]
    assert waiting(daemon) is None
    for one in commands:
        assert one.returncode == 1
        assert f"nobody answers at {tmp_path}/other.sock, but another syncd (pid {pid}) has the store" in one.stderr
        assert "[daemon] socket was changed, which counts after a restart" in one.stderr
    assert f"No daemon answers, but another syncd (pid {pid}) has the store" in shown.stdout
    assert "[daemon] socket was changed, which counts after a restart" in " ".join(shown.stdout.split())
    assert json.loads(told_json.stdout)["store_owner_pid"] == pid
    assert again.stdout.endswith("nothing to change, what it says runs already\n")


def waiting(daemon: Daemon) -> list[str] | None:
    """Return what counts after a restart only, as it was logged last."""
    keys: list[str] | None = logged(daemon, "config_reloaded")[-1].get("at_restart")
    return keys


def link_to(name: Path, target: str) -> None:
    new = name.with_name(f"{name.name}.new")
    new.symlink_to(target)
    new.replace(name)


def heard(manager: socket.socket) -> list[str]:
    """Return the datagrams that came so far."""
    found: list[str] = []
    while True:
        try:
            found.append(manager.recv(4096, socket.MSG_DONTWAIT).decode())
        except BlockingIOError:
            return found
