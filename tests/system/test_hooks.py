"""Hooks of a running daemon: what they are told, when, and what they cannot do to it."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.servers.daemon import Daemon, wait_until
from tests.servers.dovecot import Dovecot
from tests.system.mail import deliver, files, imap_account, letter
from tests.system.reloading import logged, reloaded, sync

MakeDaemon = Callable[..., Daemon]
SOON_S = 30.0
ODD = "-rf; $(touch pwned) `touch pwned`"


class Told:
    """Keep what hooks are told, and which files were there when they were."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "told"
        self._files = directory / "files"
        self.devices = directory

    def keeping(self, also: str = "") -> list[str]:
        """Return a command that keeps what it is told, after it has done something else."""
        script = f'{also}find "$1" -path "*/new/*" -o -path "*/cur/*" >> "$2"; cat >> "$0"'
        return ["sh", "-c", script, str(self._file), str(self.devices), str(self._files)]

    def all(self, hook: str) -> list[dict[str, Any]]:
        """Return what a hook was told, one for each run that came to its end."""
        if not self._file.exists():
            return []
        runs = [json.loads(line) for line in self._file.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [run for run in runs if run["hook"] == hook]

    def uids(self, device: str, mailbox: str = "INBOX") -> list[int]:
        """Return the messages that were told as new, each time."""
        told = [message for run in self.all("on_new_mail") for message in run["messages"]]
        return [one["uid"] for one in told if (one["device"], one["mailbox"]) == (device, mailbox)]

    def files_seen(self) -> set[str]:
        """Return the files that were there when a hook was told."""
        return set(self._files.read_text().splitlines())


def remembered(daemon: Daemon) -> set[str]:
    """Return the troubles that hooks were told and that are not over."""
    with closing(sqlite3.connect(f"file:{daemon.store}?mode=ro", uri=True)) as store:
        return {key for (key,) in store.execute("SELECT trouble FROM hook_told")}


def test_new_mail_is_told_once_its_file_is_there_and_a_hold_is_told(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Each device's, by name and file; not what a device wrote itself; names are data, whatever is in them (S22)."""
    deliver(dovecot, mail_user, 1)
    told, laptop = Told(tmp_path), tmp_path / "laptop"
    hooks = {"on_new_mail": told.keeping(), "on_hold": told.keeping()}

    with make_daemon({"work": imap_account(dovecot, mail_user)}, hooks=hooks) as daemon:
        wait_until(lambda: told.uids("laptop") and told.uids("phone"), SOON_S, "the first message is told")
        deliver(dovecot, mail_user, 1, mailbox=ODD, first=1)
        sync(daemon)  # else it is found at the next poll
        wait_until(lambda: told.uids("laptop", ODD) and told.uids("phone", ODD), SOON_S, "the odd name is told")
        (laptop / ".work.INBOX/tmp/mine").write_bytes(letter(2))
        (laptop / ".work.INBOX/tmp/mine").rename(laptop / ".work.INBOX/cur/mine:2,S")
        wait_until(lambda: 2 in told.uids("phone"), SOON_S, "the message of the laptop is told to the phone")
        deliver(dovecot, mail_user, 40, first=100)
        wait_until(lambda: len(files(laptop, "work.INBOX")) == 42, SOON_S, "many more come")
        counted = [one for run in told.all("on_new_mail") for one in run["mailboxes"]]
        for file in files(laptop, "work.INBOX"):
            file.unlink()
        wait_until(lambda: told.all("on_hold"), SOON_S, "the deletions are held")
        (held,) = daemon.status()["holds"]

        assert daemon.status()["hooks"][0] | {"runs": 0} == {
            "name": "on_new_mail",
            "is_running": False,
            "runs": 0,
            "failures": 0,
            "given_up": 0,
            "error": None,
            "is_lasting": False,
            "retry_at": None,
        }

    odd = next(one for one in counted if one["mailbox"] == ODD and one["device"] == "laptop")
    assert (odd["account"], odd["count"]) == ("work", 1)
    assert odd["directory"] == str(next(laptop.glob(".work.-rf*")))
    assert told.uids("laptop").count(1) == told.uids("phone").count(1) == 1
    assert 2 not in told.uids("laptop")
    paths = [message["path"] for run in told.all("on_new_mail") for message in run["messages"]]
    assert {path.partition(":2,")[0] for path in paths} <= {path.partition(":2,")[0] for path in told.files_seen()}
    (run,) = told.all("on_hold")
    (trouble,) = run["troubles"]
    assert (trouble["account"], trouble["mailbox"], trouble["device"]) == ("work", "INBOX", "laptop")
    assert (trouble["hold"], trouble["messages"]) == (held["id"], held["count"])
    assert not list(tmp_path.rglob("pwned")) + list(Path("/").glob("pwned"))
    assert "password" not in json.dumps(run)


def test_killed_daemon_tells_what_it_had_not_and_a_hook_that_hangs_holds_up_nothing(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """What is committed is told at the next start; a command without end is ended, and mail comes all the while."""
    told, work, laptop = Told(tmp_path), imap_account(dovecot, mail_user), tmp_path / "laptop"
    waits = 'while ! [ -e "$0.gate" ]; do kill -0 $PPID || exit 1; sleep 0.05; done; '
    hooks = {"on_new_mail": told.keeping(waits)}
    daemon = make_daemon({"work": work}, devices=("laptop",), hooks=hooks)
    daemon.start()
    sync(daemon)
    deliver(dovecot, mail_user, 1)
    wait_until(lambda: daemon.device("laptop")["settled_at"], SOON_S, "it is delivered")
    daemon.kill()
    (tmp_path / "told.gate").touch()

    daemon.start()
    wait_until(lambda: told.uids("laptop"), SOON_S, "it is told after the kill")
    assert told.uids("laptop") == [1]

    hangs = ["sh", "-c", f'echo $$ >> "{tmp_path}/pids"; echo stuck >&2; exec sleep 600']
    tables = {"accounts": {"work": work}, "devices": {"laptop": {"path": str(laptop)}}}
    edited = {**tables, "hooks": {"on_new_mail": hangs, "timeout": "500ms"}}
    assert reloaded(daemon, edited) == "hooks.on_new_mail: changed\nhooks.timeout: changed\n"
    deliver(dovecot, mail_user, 1, first=1)
    wait_until(lambda: logged(daemon, "hook_failed"), SOON_S, "the hook is ended")
    (failure,) = logged(daemon, "hook_failed")
    assert (failure["error"], failure["stderr"]) == ("it did not end within 0.5 s", "stuck")
    assert "hook on_new_mail: it did not end within 0.5 s (again in" in daemon.syncd("status").stdout
    reloaded(daemon, {**edited, "hooks": {"on_new_mail": [*hangs, "still"]}})
    deliver(dovecot, mail_user, 1, first=2)
    wait_until(lambda: daemon.status()["hooks"][0]["is_running"], SOON_S, "it hangs again")
    deliver(dovecot, mail_user, 1, first=3)
    sync(daemon)
    assert len(files(laptop, "work.INBOX")) == 4

    assert daemon.stop() == 0
    assert [pid for pid in (tmp_path / "pids").read_text().split() if Path(f"/proc/{pid}").exists()] == []
    assert "abandoned" not in daemon.log()
    assert "cut_short" not in daemon.log()


def test_trouble_that_needs_a_person_is_told_once(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Not at each retry and not after a restart; each to its hook, in words, and nothing secret with it."""
    told = Told(tmp_path)
    wrong = imap_account(dovecot, mail_user, password="not-the-one")
    distrusted = imap_account(dovecot, f"{mail_user}t", port=dovecot.imaps_port, tls="implicit")
    hooks = {"on_auth_error": told.keeping("env | cut -d= -f1 >&2; "), "on_error": told.keeping()}
    environment = {"SYNCD_DAEMON__LOG_LEVEL": "debug"}
    daemon = make_daemon({"work": wrong, "other": distrusted}, ("laptop",), hooks=hooks, environment=environment)
    daemon.start()
    wait_until(lambda: told.all("on_auth_error") and told.all("on_error"), SOON_S, "both are told")

    def of_auth() -> list[str]:
        return [one["stderr"] for one in logged(daemon, "hook_output_received") if one["hook"] == "on_auth_error"]

    wait_until(of_auth, SOON_S, "the hook that told it has ended")
    heard = of_auth()[0]
    daemon.syncd("sync")
    assert daemon.stop() == 0
    daemon.start()
    wait_until(lambda: all(one["error"] for one in daemon.status()["accounts"]), SOON_S, "both fail again")
    right = imap_account(dovecot, mail_user)
    devices = {"laptop": {"path": str(tmp_path / "laptop")}}
    reloaded(daemon, {"accounts": {"work": right, "other": distrusted}, "devices": devices, "hooks": hooks})
    wait_until(lambda: "password of work" not in remembered(daemon), SOON_S, "the password is right")
    assert len(told.all("on_auth_error")) == len(told.all("on_error")) == 1
    reloaded(daemon, {"accounts": {"work": wrong, "other": distrusted}, "devices": devices, "hooks": hooks})
    wait_until(lambda: len(told.all("on_auth_error")) == 2, SOON_S, "it is wrong again")
    assert daemon.stop() == 0

    (auth,), (error,) = told.all("on_auth_error")[0]["troubles"], told.all("on_error")[0]["troubles"]
    assert (auth["account"], auth["reach"], auth["waiting_helps"]) == ("work", "account", False)
    assert auth["error"].startswith("login refused by the server")
    assert "password" in auth["what_to_do"]
    assert (error["account"], error["waiting_helps"]) == ("other", False)
    assert len(told.all("on_error")) == 1
    text = json.dumps([told.all("on_auth_error"), told.all("on_error")])
    assert "not-the-one" not in text
    assert mail_user not in text
    names = set(heard.split("\\n"))  # control characters are shown, not logged
    assert {"SYNCD_HOOK", "SYNCD_CONFIG", "PATH", "HOME"} <= names
    assert "SYNCD_DAEMON__LOG_LEVEL" not in names
