"""`syncd restore` as a process: deleted mail found, shown and brought back, with a daemon and without."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.servers.daemon import Daemon, wait_until
from tests.servers.dovecot import Dovecot
from tests.system.mail import deliver, files, imap_account

MakeDaemon = Callable[..., Daemon]


def test_deleted_mail_is_shown_and_restored_with_the_daemon_up_and_down(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Listed first; by number from the history at once, by mailbox with the next sync; slips are refused."""
    deliver(dovecot, mail_user, 4)
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)})
    nothing = daemon.syncd("restore", "1")

    def inbox(device: str) -> int:
        return len(files(tmp_path / device, "work.INBOX"))

    with daemon:
        daemon.sync()
        expunge(dovecot, mail_user, 2)
        daemon.sync()
        number = json.loads(daemon.syncd("history", "--json").stdout.splitlines()[-1])["message"]
        text, up = daemon.syncd("restore", "-n"), daemon.syncd("restore", "--dry-run", "--json", "--account", "work")
        wrong = daemon.syncd("restore", "999", str(number))
        assert [inbox("laptop"), inbox("phone")] == [2, 2]

        done = daemon.syncd("restore", str(number))
        wait_until(lambda: [inbox("laptop"), inbox("phone")] == [3, 3], 20, "it is there without being asked to sync")
        daemon.sync()
        again = daemon.syncd("restore", str(number))
        story = daemon.syncd("history", "--message", str(number)).stdout
    assert (nothing.returncode, nothing.stderr.startswith("syncd: there is no store")) == (1, True)
    assert text.stdout.splitlines()[0].split() == ["message", "deleted", "from", "what", "sender", "subject"]
    assert text.stdout.splitlines()[-1] == "2 messages would be restored; nothing was done"
    report = json.loads(up.stdout)
    assert (report["counts"], report["is_dry"]) == ({"sent": 2}, True)
    (line,) = (one for one in report["lines"] if one["message"] == number)
    assert (line["account"], line["mailbox"], line["to"], line["fate"]) == ("work", "INBOX", "INBOX", "sent")
    assert line["subject"]
    assert (wrong.returncode, wrong.stderr) == (
        1,
        "syncd: there is no message 999; syncd history tells their numbers\n",
    )
    assert done.stdout.splitlines()[-1] == "1 message on the way back"
    assert (again.returncode, again.stdout.splitlines()[-1]) == (0, "nothing to restore")
    assert "restore" in story
    assert "person" in story

    down = daemon.syncd("restore", "--mailbox", "work/INBOX", "--since", "1h")
    assert down.stdout.splitlines()[-2:] == [
        "1 message on the way back",
        "the daemon is not running: it happens with the next syncd sync or syncd run",
    ]
    assert "restore message" in daemon.syncd("plan").stdout
    daemon.sync()
    assert [inbox("laptop"), inbox("phone")] == [4, 4]
    assert daemon.syncd("plan").stdout == "nothing to do\n"
    for slip in ((), ("1", "--mailbox", "INBOX"), ("--account", "wrok")):
        assert daemon.syncd("restore", *slip).returncode == 2, slip
    unknown = daemon.syncd("restore", "--mailbox", "Nowhere")
    assert (unknown.returncode, "there is no mailbox Nowhere" in unknown.stderr) == (1, True)


def expunge(server: Dovecot, user: str, count: int) -> None:
    """Delete the oldest messages of INBOX for good, as another program does."""
    with server.imap(user) as client:
        client.select("INBOX")
        client.store(f"1:{count}", "+FLAGS.SILENT", "(\\Deleted)")
        client.expunge()


def test_daemon_refuses_a_restore_that_names_nothing(make_daemon: MakeDaemon) -> None:
    """All that was ever deleted comes back for nobody who forgot to say what; to look at it, it need not be named."""
    with make_daemon({}) as daemon:
        nothing, empty = (daemon.request("POST", "/restore", body)[0] for body in (b"{}", b""))
        looked = daemon.request("POST", "/restore", b'{"is_dry": true}')[0]

    assert (nothing, empty, looked) == (400, 400, 200)
