"""`syncd history` and `syncd plan` as processes: what was done, and what is left to do, with a daemon and without."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.servers.daemon import ROOT, Daemon, wait_until
from tests.servers.dovecot import Dovecot
from tests.system.mail import deliver, files, imap_account, mark_seen

MakeDaemon = Callable[..., Daemon]


def test_what_a_device_did_is_told_with_the_daemon_up_and_down(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """The same lines, of one message by its Message-ID and by its number, as a table and as JSON; slips are refused."""
    deliver(dovecot, mail_user, 3)
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)})
    nothing = daemon.syncd("history")
    with daemon:
        daemon.sync()
        mark_seen(next(file for file in files(tmp_path / "laptop", "work.INBOX") if _is_of(file, 1)))
        daemon.sync()
        up, table = daemon.syncd("history", "--json"), daemon.syncd("history", "--message", "<1@example.org>")
    down = daemon.syncd("history", "--json")
    known = [json.loads(line) for line in down.stdout.splitlines()]
    number = next(one["message"] for one in known if one["verb"] == "store")

    assert (nothing.returncode, nothing.stderr.startswith("syncd: there is no store")) == (1, True)
    assert down.stdout == up.stdout
    assert [one["id"] for one in known] == sorted(one["id"] for one in known)
    stored = next(one for one in known if one["verb"] == "store")
    assert stored | {"id": 0, "at": 0.0, "message": 0} == {
        "id": 0,
        "at": 0.0,
        "account": "work",
        "mailbox": "INBOX",
        "device": None,
        "message": 0,
        "uid": 2,
        "messages": 1,
        "origin": "laptop",
        "verb": "store",
        "detail": "+\\Seen",
        "outcome": "done",
        "reason": "",
    }
    heads, *lines = table.stdout.splitlines()
    assert heads.split("  ")[0] == "time"
    assert any("phone" in line and "rename +\\Seen" in line for line in lines)
    assert daemon.syncd("history", "--message", str(number)).stdout == table.stdout
    assert daemon.syncd("history", "--device", "laptop", "--since", "1h").stdout.count("store +\\Seen") == 1
    assert daemon.syncd("history", "--mailbox", "work/INBOX", "--limit", "1").stderr.startswith("only the newest 1 ")
    assert (
        daemon.syncd("history", "--account", "work", "--since", "2100-01-01").stdout == "nothing that is remembered\n"
    )
    of_many = "nothing that is remembered of this message alone: what came together with many is one line for all\n"
    assert daemon.syncd("history", "--message", str(number), "--since", "2100-01-01").stdout == of_many
    slips = {
        "--device": "lapdop",
        "--account": "wrok",
        "--since": "yesterday",
        "--mailbox": "nope",
        "--message": "99999",
    }
    for slip in slips.items():
        assert daemon.syncd("history", *slip).returncode == 2


def test_plan_is_shown_with_the_server_away(
    dovecot: Dovecot, mail_user: str, make_dovecot: Callable[..., Dovecot], make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """What a device changed, with the UID, and nothing is done by asking; as JSON with the keys that are documented."""
    server = make_dovecot()
    deliver(server, mail_user, 2)
    daemon = make_daemon({"work": imap_account(server, mail_user)})
    with daemon:
        daemon.sync()
    server.stop()
    with daemon:
        mark_seen(next(file for file in files(tmp_path / "laptop", "work.INBOX") if _is_of(file, 0)))
        assert daemon.syncd("sync").returncode == 1
        text, again, as_json = daemon.syncd("plan"), daemon.syncd("plan"), daemon.syncd("plan", "--json")

    (line,) = text.stdout.splitlines()
    assert line.startswith("laptop: work/INBOX: store flags of message ")
    assert line.endswith(" (uid 1) +\\Seen")
    assert again.stdout == text.stdout
    report = json.loads(as_json.stdout)
    assert report.keys() == {"effects", "is_whole", "holds", "waits", "unseen"}
    (effect,) = report["effects"]
    assert (effect["account"], effect["mailbox"], effect["device"], effect["uid"], effect["held"]) == (
        "work",
        "INBOX",
        "laptop",
        1,
        None,
    )
    assert effect["effect"] | {"message_id": 0} == {
        "verb": "store",
        "message_id": 0,
        "uid": 1,
        "add": ["\\Seen"],
        "remove": [],
    }


def _is_of(file: Path, number: int) -> bool:
    return f"<{number}@example.org>".encode() in file.read_bytes()


def test_events_are_told_as_they_happen_until_interrupted(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Who listens hears of new mail, of a flag that a device sets, and of a device that goes."""
    deliver(dovecot, mail_user, 1)
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)})
    down = daemon.syncd("events")
    with daemon, (tmp_path / "heard").open("wb") as heard:
        daemon.sync()
        command = [sys.executable, "-m", "syncd", "events", "--json", "--config", str(daemon.config_file)]
        listener = subprocess.Popen(command, cwd=ROOT, env={}, stdout=heard, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: "daemon_joined" in _heard(tmp_path), 30, "somebody listens")
            dovecot.deliver(mail_user, "INBOX", b"From: a@example.org\r\nSubject: new\r\n\r\nnew\r\n")
            wait_until(lambda: _heard(tmp_path).count("deliver") == 2, 30, "mail is heard of")
            mark_seen(files(tmp_path / "laptop", "work.INBOX")[0])
            wait_until(lambda: {"store", "rename"} <= set(_heard(tmp_path).split('"')), 30, "the flag is heard of")
            (tmp_path / "phone").rename(tmp_path / "gone")
            daemon.syncd("sync")
            wait_until(lambda: "away" in _heard(tmp_path), 30, "the device is heard of")
            listener.send_signal(signal.SIGINT)
            interrupted = listener.wait(10)
        finally:
            listener.kill()
            listener.wait()
        to_the_end = subprocess.Popen(command, cwd=ROOT, env={}, stdout=heard, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: _heard(tmp_path).count("device_failed") >= 2, 30, "what is wrong already is told first")
        daemon.stop()
        _, said = to_the_end.communicate(timeout=10)

    events = [json.loads(line) for line in (tmp_path / "heard").read_text().splitlines()]
    assert (down.returncode, down.stderr) == (1, "syncd: the daemon is not running\n")
    assert interrupted == 0
    assert (to_the_end.returncode, said) == (1, "syncd: the daemon has stopped\n")
    deeds = [(one["entry"]["device"], one["entry"]["verb"]) for one in events if one["kind"] == "history"]
    assert {(None, "appear"), ("laptop", "deliver"), (None, "store"), ("phone", "rename")} <= set(deeds)
    assert [one["state"] for one in events if one["kind"] == "device_changed"] == ["away"]
    assert {one["device"] for one in events if one["kind"] == "device_failed"} == {"phone"}


def _heard(directory: Path) -> str:
    return (directory / "heard").read_text()
