"""Statuses of a small house that is well, and what may be otherwise in it."""

from typing import Any

from syncd.daemon.status.attention import findings_of
from syncd.daemon.status.status import (
    AccountStatus,
    ConnectionStatus,
    DaemonStatus,
    DeviceStatus,
    NewsStatus,
    Progress,
    Status,
)
from syncd.values import replace

NOW = 1_700_000_000.0
DAEMON = DaemonStatus(77, "1.0", NOW - 7200)
CONNECTION = ConnectionStatus(NOW - 7200, True, "TLSv1.3", "qresync")
NEWS = NewsStatus(True, "INBOX", 11, "one_mailbox_per_connection", 300.0, NOW + 60)


def account(name: str = "work", **changes: Any) -> AccountStatus:
    """Return an account that is well, but for the changes."""
    return AccountStatus(
        **{
            "name": name,
            "type": "imap",
            "server": "imap.example.org:993",
            "security": "implicit",
            "doing": "idle",
            "since_at": NOW - 12,
            "connection": CONNECTION,
            "news": NEWS,
            "succeeded_at": NOW - 12,
            "lag_s": 12.0,
            "error": None,
            "cause": None,
            "remedy": None,
            "failed_at": None,
            "failing_since_at": None,
            "failures": 0,
            "retry_at": None,
            "messages": 12_345,
            "mailbox_count": 12,
            "set_aside": 0,
            "held": 0,
            "progress": Progress(12_345, 12_345, 10**9, 10**9),
            "mailboxes": (),
            **changes,
        }
    )


def pop3_account(name: str = "isp", **changes: Any) -> AccountStatus:
    """Return an account of POP3 that is well, but for the changes."""
    values = {
        "type": "pop3",
        "server": "pop.example.net:995",
        "connection": ConnectionStatus(NOW - 86, False, "TLSv1.2", None),
        "news": NewsStatus(False, None, 1, "pop3", 120.0, NOW + 34),
        "lag_s": 86.0,
        "messages": 40,
        "mailbox_count": 5,
        "progress": Progress(40, 40, 10**6, 10**6),
    }
    return account(name, **(values | changes))


def device(name: str = "laptop", **changes: Any) -> DeviceStatus:
    """Return a device that is well, but for the changes."""
    return DeviceStatus(
        **{
            "name": name,
            "path": f"/srv/mail/{name}",
            "state": "active",
            "doing": "idle",
            "since_at": NOW - 12,
            "settled_at": NOW - 12,
            "waiting": 0,
            "unsynced": 0,
            "held": 0,
            "lag_s": 0.0,
            "error": None,
            "cause": None,
            "remedy": None,
            "failing_since_at": None,
            "retry_at": None,
            "messages": 12_385,
            "mailbox_count": 17,
            "progress": Progress(12_385, 12_385, 10**9, 10**9),
            "replicas": (),
            **changes,
        }
    )


def status(**changes: Any) -> Status:
    """Return a status with the findings that follow from it."""
    values: dict[str, Any] = {
        "at": NOW,
        "daemon": DAEMON,
        "accounts": (account(), pop3_account()),
        "devices": (device(), device("phone")),
        "troubles": (),
        "holds": (),
        "changed_at": NOW - 12,
        "counted_at": NOW,
        **changes,
    }
    plain = Status(**values)
    return replace(plain, findings=findings_of(plain))
