"""Mail that stays in its maildrop, as a person sees it: in the status, in the history, and after an edit."""

import time
from collections.abc import Callable
from pathlib import Path

from tests.servers.daemon import Daemon, wait_until
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_ports
from tests.system.mail import deliver, files, pop3_account
from tests.system.reloading import reloaded, sync
from tests.system.test_metrics import Scraped

DAY_S = 86400.0


def left(dovecot: Dovecot, user: str) -> int:
    """Return how many messages another program sees in the maildrop."""
    client = dovecot.pop3(user)
    try:
        return client.stat()[0]
    finally:
        client.quit()


def test_what_stays_is_told_and_goes_when_an_edit_says_so(
    dovecot: Dovecot, mail_user: str, make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """The status says how many and until when, also with the daemon down; the history tells when they go."""
    isp = pop3_account(dovecot, mail_user, keep="forever")
    laptop = {"path": str(tmp_path / "laptop")}
    deliver(dovecot, mail_user, 3)
    with make_daemon({"isp": isp}, devices=("laptop",)) as daemon:
        sync(daemon)
        told = daemon.account("isp")
        assert (left(dovecot, mail_user), told["kept"], told["kept_until_at"]) == (3, 3, None)
        assert "3 stay on the server\n" in daemon.syncd("status").stdout
        assert "dele " not in daemon.syncd("history").stdout

        edit = {"accounts": {"isp": {**isp, "keep": "14d"}}, "devices": {"laptop": laptop}}
        assert reloaded(daemon, edit) == "account isp: changed keep\n"
        assert 13 * DAY_S < daemon.account("isp")["kept_until_at"] - time.time() < 15 * DAY_S
        assert "3 stay on the server, the oldest until " in daemon.syncd("status").stdout
    assert "3 stay on the server, the oldest until " in daemon.syncd("status").stdout

    with daemon:
        sync(daemon)
        assert left(dovecot, mail_user) == 3
        reloaded(daemon, {"accounts": {"isp": {**isp, "keep": "0d"}}, "devices": {"laptop": laptop}})
        sync(daemon)
        assert (left(dovecot, mail_user), daemon.account("isp")["kept"]) == (0, 0)
        assert "on the server" not in daemon.syncd("status").stdout
        assert daemon.syncd("history").stdout.count("dele") >= 1
        assert len(files(tmp_path / "laptop", "isp.INBOX")) == 3


def test_what_is_to_go_at_once_is_not_told_to_stay(
    dovecot: Dovecot, mail_user: str, make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """Neither by the status nor by the metrics, though it goes with the next session only."""
    isp = pop3_account(dovecot, mail_user, keep="forever", poll_interval="1h")
    scraped, kept = Scraped(free_ports(1)[0]), ("syncd_account_kept_messages", "isp")
    deliver(dovecot, mail_user, 3)
    with make_daemon({"isp": isp}, devices=("laptop",), listen=f"127.0.0.1:{scraped.port}") as daemon:
        sync(daemon)
        wait_until(lambda: scraped.samples()[kept] == 3, 30, "it is told what stays")

        laptop, table = {"path": str(tmp_path / "laptop")}, {"listen": f"127.0.0.1:{scraped.port}"}
        reloaded(daemon, {"accounts": {"isp": {**isp, "keep": "0d"}}, "devices": {"laptop": laptop}, "daemon": table})
        assert (left(dovecot, mail_user), daemon.account("isp")["kept"], scraped.samples()[kept]) == (3, 0, 0)
        assert "on the server" not in daemon.syncd("status").stdout
