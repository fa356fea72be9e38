"""`syncd purge` as a process: what left the configuration leaves the store when a person says so, and no file."""

from collections.abc import Callable
from pathlib import Path

from tests.servers.daemon import Daemon, wait_until
from tests.servers.dovecot import Dovecot
from tests.system.mail import deliver, files, imap_account, pop3_account

MakeDaemon = Callable[..., Daemon]


def test_what_is_not_configured_any_more_is_shown_and_purged(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Without a daemon a device, with one an account of which no server has the mail; what is configured stays."""
    deliver(dovecot, mail_user, 4)
    deliver(dovecot, f"{mail_user}-isp", 2, first=10)
    accounts = {"work": imap_account(dovecot, mail_user), "isp": pop3_account(dovecot, f"{mail_user}-isp")}
    daemon = make_daemon(accounts)
    nothing = daemon.syncd("purge")
    daemon.sync()
    none_left = daemon.syncd("purge")
    roots = {name: {"path": str(tmp_path / name)} for name in ("laptop", "phone")}
    daemon.configure({"accounts": accounts, "devices": {"laptop": roots["laptop"]}})

    shown = daemon.syncd("purge")
    unnamed = daemon.syncd("purge", "--yes")
    configured = daemon.syncd("purge", "--device", "laptop", "--yes")
    unknown = daemon.syncd("purge", "--account", "old", "--yes")
    done = daemon.syncd("purge", "--device", "phone", "--yes")
    assert nothing.returncode == 1
    assert nothing.stderr.startswith(f"syncd: there is no store at {daemon.store}: syncd has not run yet; ")
    assert none_left.stdout == "the store has nothing but what is in the configuration\n"
    assert shown.stdout == "device phone: 6 files\n"
    assert shown.stderr == (
        "nothing was done: syncd purge --yes with --account NAME or --device NAME removes that one for good\n"
    )
    assert unnamed.returncode == 2
    assert configured.stderr == "syncd: device laptop is in the configuration: take it out of there first\n"
    assert unknown.stderr == "syncd: the store has nothing of account old\n"
    assert (configured.returncode, unknown.returncode) == (1, 1)
    assert done.stdout == "device phone: 6 files\nit is removed\n"
    assert daemon.syncd("purge").stdout == "the store has nothing but what is in the configuration\n"
    assert len(files(tmp_path / "phone", "work.INBOX")) == 4

    daemon.configure({"accounts": {"work": accounts["work"]}, "devices": {"laptop": roots["laptop"]}})
    with daemon:
        assert daemon.syncd("purge").stdout == "account isp: 2 messages, which no server has\n"
        assert daemon.request("POST", "/purge", b'{"is_dry": false}')[0] == 400
        assert daemon.request("POST", "/purge", b"{}")[0] == 200
        assert daemon.syncd("purge").stdout == "account isp: 2 messages, which no server has\n"
        daemon.configure({"accounts": {}, "devices": {"laptop": roots["laptop"]}})  # as an editor that was cut short
        wait_until(lambda: daemon.status()["config"]["problems"], 20, "nobody is left, so the edit is refused")
        asked = daemon.syncd("purge", "--account", "isp", "--yes")
        assert asked.stdout == "account isp: 2 messages, which no server has\nit is being removed\n"
        wait_until(lambda: "bodies_swept" in daemon.log(), 20, "the sweep does not wait for its day")
        wait_until(lambda: daemon.log().count("config_refused") == 2, 20, "the file is looked at again")
        assert [one["name"] for one in daemon.status()["accounts"]] == ["work"]
        daemon.configure({"accounts": {"work": accounts["work"]}, "devices": {"laptop": roots["laptop"]}})
        daemon.sync()
    assert len(files(tmp_path / "laptop", "work.INBOX")) == 4
    assert len(files(tmp_path / "laptop", "isp.INBOX")) == 2
