"""What a daemon logs: one line an event in the chosen form, and never a secret."""

import base64
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers import journal
from tests.servers.daemon import Daemon, wait_until
from tests.servers.dovecot import Dovecot
from tests.system.mail import deliver, files, imap_account, mark_seen, pop3_account

MakeDaemon = Callable[..., Daemon]
WRONG = "Tr0ub4dor&3 ünd"


def journal_at(received: journal.Journal) -> tuple[str, ...]:
    """Return what runs a daemon with its journal there."""
    return (sys.executable, str(Path(__file__).with_name("journal_elsewhere.py")), str(received.path))


@pytest.mark.parametrize("log_format", ["console", "json", "journald"])
def test_no_password_subject_or_address_is_logged_at_any_level(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path, log_format: str
) -> None:
    """At debug level, with wires traced and logins refused, the log holds no password in any form, and no mail."""
    work, isp, wrong = (f"{mail_user}{kind}@example.org" for kind in "wpx")
    deliver(dovecot, work, 3)
    deliver(dovecot, isp, 1)
    accounts = {
        "work": imap_account(dovecot, work),
        "isp": pop3_account(dovecot, isp),
        "wrong": imap_account(dovecot, wrong, password=WRONG),
        "wrongpop": pop3_account(dovecot, wrong, password=WRONG),
    }

    with journal.temporary() as received:
        through = journal_at(received)
        traced = {"SYNCD_WIRE_TRACE": "*"}
        with make_daemon(
            accounts, through=through, environment=traced, log_level="debug", log_format=log_format
        ) as daemon:
            daemon.syncd("sync")
            mark_seen(files(tmp_path / "laptop", "work.INBOX")[0])
            daemon.syncd("sync")
        log = daemon.log() + str(received.records())

    assert "account_failed" in log
    assert "effect_settled" in log
    assert "UID FETCH" in log
    assert "RETR 1" in log
    plain = base64.b64encode(f"\0{wrong}\0{WRONG}".encode()).decode()
    for secret in (WRONG, base64.b64encode(WRONG.encode()).decode(), plain, dovecot.password):
        assert secret not in log
    assert "example.org" not in log
    assert "letter" not in log


def test_every_line_is_json_where_there_is_no_terminal(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon
) -> None:
    """A log collector can read each line by itself: event, level and time, in UTC."""
    with make_daemon({"work": imap_account(dovecot, mail_user)}) as daemon:
        daemon.sync()

    lines = [json.loads(line) for line in daemon.log().splitlines()]
    events = [line["event"] for line in lines]
    assert (events[0], events[-2:]) == ("daemon_started", ["daemon_stop_began", "daemon_stopped"])
    assert {"account_connected", "device_attached"} < set(events)
    assert all(line["timestamp"].endswith("Z") and line["level"] == "info" for line in lines)


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_log_that_nobody_takes_stops_no_mail(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path, log_format: str
) -> None:
    """Where what reads it was killed, or its disk is full, mail goes on, and the end is as good as any other."""
    deliver(dovecot, mail_user, 2)
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)}, log_format=log_format, log_level="debug")
    reading, writing = os.pipe()
    os.close(reading)

    daemon.launch(log=writing)
    os.close(writing)
    wait_until(lambda: len(files(tmp_path / "laptop", "work.INBOX")) == 2, 30, "the mail is there")
    wait_until(lambda: daemon.account("work")["doing"] == "idle", 30, "nothing is left to do")

    assert daemon.account("work")["error"] is None
    assert daemon.stop() == 0


def test_level_of_the_configuration_is_kept(dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon) -> None:
    """Who asks for errors only gets nothing while all goes well."""
    with make_daemon({"work": imap_account(dovecot, mail_user)}, log_level="error") as daemon:
        daemon.sync()

    assert daemon.log() == ""


def test_journal_of_systemd_is_told_in_fields(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """As a service, nothing has to be configured: records are found by account, device and event, with their place."""
    log = tmp_path / "syncd" / "daemon.log"
    log.parent.mkdir()
    log.touch()
    environment = {"JOURNAL_STREAM": f"{log.stat().st_dev}:{log.stat().st_ino}"}
    deliver(dovecot, mail_user, 1)

    with journal.temporary() as received:
        through = journal_at(received)
        accounts = {"work": imap_account(dovecot, mail_user)}
        with make_daemon(accounts, through=through, environment=environment, log_level="debug") as daemon:
            daemon.sync()
        records = received.records()

    events = [record["SYNCD_EVENT"] for record in records]
    assert (events[0], events[-1]) == ("daemon_started", "daemon_stopped")
    assert {"account_connected", "command_finished"} < {
        record["SYNCD_EVENT"] for record in records if record.get("SYNCD_ACCOUNT") == "work"
    }
    (attached,) = (
        one for one in records if (one["SYNCD_EVENT"], one.get("SYNCD_DEVICE")) == ("device_attached", "phone")
    )
    assert (attached["MESSAGE"], attached["PRIORITY"]) == ("device_attached device=phone", "6")
    assert attached["CODE_FILE"].endswith("syncd/sync/device/task.py")
    assert attached["CODE_FUNC"] == "_begin"
    assert daemon.log() == ""
