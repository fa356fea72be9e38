"""`syncd account rename` as a process: the same mail under another name, the same files in directories of that name."""

from collections.abc import Callable
from pathlib import Path

from tests.servers.daemon import Daemon, wait_until
from tests.servers.dovecot import Dovecot
from tests.system.mail import deliver, files, imap_account
from tests.system.reloading import reloaded

MakeDaemon = Callable[..., Daemon]


def test_account_goes_on_under_another_name_with_the_daemon_up_and_down(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Renamed in the file alone it is held, so that nothing is fetched again; then its directories follow."""
    deliver(dovecot, mail_user, 3)
    deliver(dovecot, mail_user, 1, mailbox="Archive", first=9)
    account = imap_account(dovecot, mail_user)
    roots = {"laptop": {"path": str(tmp_path / "laptop")}, "phone": {"path": str(tmp_path / "phone"), "layout": "fs"}}

    def inodes(name: str) -> list[set[int]]:
        places = (("laptop", f"{name}.INBOX"), ("laptop", f"{name}.Archive"))
        return [{file.stat().st_ino for file in files(tmp_path / device, mailbox)} for device, mailbox in places]

    daemon = make_daemon({"work": account})
    daemon.configure({"accounts": {"work": account}, "devices": roots})
    with daemon:
        daemon.sync()
        before = inodes("work")
        early = daemon.syncd("account", "rename", "work", "job")
        reloaded(daemon, {"accounts": {"job": account}, "devices": roots})
        wait_until(lambda: daemon.account("job")["error"], 20, "it is held")
        held = daemon.account("job")["error"]
        assert inodes("work") == before
        renamed = daemon.syncd("account", "rename", "work", "job")
        again = daemon.syncd("account", "rename", "work", "job")
        wait_until(lambda: inodes("job") == before, 20, "the directories have the new name")
        deliver(dovecot, mail_user, 1, first=20)
        daemon.sync()
        assert len(files(tmp_path / "laptop", "job.INBOX")) == 4
        assert not (tmp_path / "phone" / "work").exists() or not list((tmp_path / "phone" / "work").rglob("cur"))
    assert early.stderr == "syncd: account job is not in the configuration: give account work that name there first\n"
    assert held.startswith("it is the server and user that account work was: syncd account rename work job ")
    assert (renamed.returncode, renamed.stdout) == (0, "account work is account job now\n")
    assert (again.returncode, again.stderr) == (1, "syncd: the store has nothing of account work\n")

    before = inodes("job")
    daemon.configure({"accounts": {"third": {**account, "username": "somebody"}}, "devices": roots})
    other = daemon.syncd("account", "rename", "job", "third")
    daemon.configure({"accounts": {"third": account}, "devices": roots})
    refused = daemon.syncd("sync")
    renamed = daemon.syncd("account", "rename", "job", "third")
    daemon.sync()
    assert other.stderr == "syncd: account third is another server or user than account job was\n"
    assert refused.returncode == 1
    assert "syncd account rename job third" in refused.stderr
    assert renamed.returncode == 0
    assert inodes("third") == before
