"""`syncd status`, `health` and `migrate` as processes."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.daemon import ROOT, Daemon
from tests.servers.dovecot import Dovecot
from tests.system.mail import deliver, imap_account

MakeDaemon = Callable[..., Daemon]


def test_status_is_the_same_with_the_daemon_up_and_down(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon
) -> None:
    """With the daemon down the store answers: the same shape and counts, and it is said clearly."""
    deliver(dovecot, mail_user, 7)
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)})

    with daemon:
        daemon.sync()
        up, text_up = daemon.syncd("status", "--json"), daemon.syncd("status")
    down, text_down = daemon.syncd("status", "--json"), daemon.syncd("status")

    assert (up.returncode, down.returncode) == (0, 0)
    running, stored = json.loads(up.stdout), json.loads(down.stdout)
    assert running["daemon"]["pid"] > 0
    assert stored["daemon"] is None
    assert keys(running | {"daemon": None, "config": None}) == keys(stored)
    counts = [[device["replicas"] for device in status["devices"]] for status in (running, stored)]
    assert counts[0] == counts[1]
    assert "the daemon runs since" in text_up.stdout
    assert text_down.stdout.startswith("the daemon is not running; this is what the store remembers\n")
    assert "work/INBOX" in text_down.stdout


def test_mailbox_name_of_a_server_cannot_change_the_terminal(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon
) -> None:
    """Names from servers are shown escaped and mean nothing to the terminal or to our own markup."""
    name = "[red]\u202e x"
    deliver(dovecot, mail_user, 1, mailbox=name)
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)})
    daemon.sync()

    shown = daemon.syncd("status")

    assert "[red]\\u202e x" in shown.stdout
    assert "\u202e" not in shown.stdout


def test_watched_status_is_shown_again_until_interrupted(make_daemon: MakeDaemon) -> None:
    """It follows the daemon over its end, and Ctrl-C is its ordinary end."""
    daemon = make_daemon({})
    with daemon:
        watching = subprocess.Popen(
            [sys.executable, "-m", "syncd", "status", "--watch", "--config", str(daemon.config_file)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert watching.stdout is not None
        assert watching.stdout.readline().startswith("the daemon runs since")
    while not (line := watching.stdout.readline()).startswith("the daemon is not running"):
        assert line, "it ended"
    watching.send_signal(signal.SIGINT)
    _, complaint = watching.communicate(timeout=30)

    assert (watching.returncode, complaint) == (0, "")


def test_status_before_the_first_run_says_that_there_is_no_store(make_daemon: MakeDaemon) -> None:
    """Nothing is made by looking."""
    daemon = make_daemon({})

    ended = daemon.syncd("status")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"syncd: there is no store at {daemon.store}\n"
    assert not daemon.store.exists()


def test_health_tells_by_its_exit_code(make_daemon: MakeDaemon) -> None:
    """0 while the daemon answers, whatever its file says since; 1 when it does not run."""
    daemon = make_daemon({})

    before = daemon.syncd("health")
    with daemon:
        daemon.config_file.write_text(daemon.config_file.read_text() + "[gaurd]\ncount = 3\n")
        during = daemon.syncd("health")

    assert (before.returncode, before.stderr) == (1, "syncd: the daemon is not running\n")
    assert (during.returncode, during.stdout) == (0, "the daemon answers\n")


def test_migrate_makes_a_store_and_refuses_while_the_daemon_runs(make_daemon: MakeDaemon) -> None:
    """The schema is changed by the owner of the store only."""
    daemon = make_daemon({})

    made, again = daemon.syncd("migrate"), daemon.syncd("migrate")
    with daemon:
        refused = daemon.syncd("migrate")

    assert (made.returncode, again.returncode) == (0, 0)
    assert "(before: none)" in made.stdout
    assert "already" in again.stdout
    assert refused.returncode == 1
    assert "owns the store" in refused.stderr


@pytest.mark.parametrize("verb", ["auth"])
def test_verb_that_does_not_exist_yet_is_a_slip_of_usage(verb: str) -> None:
    """No command pretends."""
    ended = subprocess.run([sys.executable, "-m", "syncd", verb], cwd=ROOT, capture_output=True, text=True)

    assert ended.returncode == 2
    assert f"No such command '{verb}'" in ended.stderr


def test_commands_that_ask_the_daemon_load_no_heavy_library(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """Asking a running daemon costs no database and no web library."""
    code = "import sys, syncd.__main__\ntry: syncd.__main__.main()\nexcept SystemExit: pass\nprint(*sys.modules)"

    with make_daemon({}) as daemon:
        for command in (("status",), ("status", "--json"), ("health",), ("plan",), ("history",), ("holds",), ("sync",)):
            ended = subprocess.run(
                [sys.executable, "-c", code, *command, "--config", str(daemon.config_file)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
            )
            loaded = set(ended.stdout.splitlines()[-1].split())
            assert "syncd.cli.main" in loaded
            assert loaded & {"sqlalchemy", "aiohttp", "aioimaplib", "alembic", "watchfiles"} == set(), command


def keys(value: object) -> object:
    """Return the shape of a JSON value: keys, and the shapes of the first of each list."""
    if isinstance(value, dict):
        return {key: keys(inner) for key, inner in value.items() if key not in {"error", "retry_at", "since_at"}}
    if isinstance(value, list):
        return [keys(inner) for inner in value[:1]]
    return None
