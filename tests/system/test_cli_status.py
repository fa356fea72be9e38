"""`syncd status`, `health` and `migrate` as processes."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.daemon import ROOT, Daemon, wait_until
from tests.servers.dovecot import Dovecot
from tests.system.mail import deliver, imap_account, pop3_account
from tests.unit.test_documented_status import documented_keys

MakeDaemon = Callable[..., Daemon]


def test_status_is_the_same_with_the_daemon_up_and_down(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon
) -> None:
    """With the daemon down the store answers: the same shape and counts, and it is said clearly."""
    deliver(dovecot, mail_user, 7)
    accounts = {"work": imap_account(dovecot, mail_user), "isp": pop3_account(dovecot, f"{mail_user}isp")}
    daemon = make_daemon(accounts)

    with daemon:
        daemon.sync()
        wait_until(lambda: daemon.account("work")["news"]["all_pushed"], 30, "the account hears of all mailboxes")
        up, text_up = daemon.syncd("status", "--json"), daemon.syncd("status")
    down, text_down = daemon.syncd("status", "--json"), daemon.syncd("status")

    assert (up.returncode, down.returncode) == (0, 0)
    running, stored = json.loads(up.stdout), json.loads(down.stdout)
    assert running["daemon"]["pid"] > 0
    assert stored["daemon"] is None
    assert keys(running | {"daemon": None, "config": None, "findings": []}) == keys(stored | {"findings": []})
    documented = documented_keys()
    for told in (running, stored):
        assert set(paths(told)) <= documented
        assert {key for key in documented if "." not in key} == set(told)
    counts = [[device["replicas"] for device in status["devices"]] for status in (running, stored)]
    assert counts[0] == counts[1]
    work, isp = running["accounts"]
    assert (work["connection"]["is_open"], isp["connection"]["is_open"]) == (True, False)
    assert (work["connection"]["tls_version"], work["connection"]["changes_by"]) == (None, "qresync")
    progress = [one["progress"] for one in (work, *running["devices"])]
    assert [(one["messages_done"], one["messages_total"], one["eta_s"]) for one in progress] == [(7, 7, 0.0)] * 3
    assert all(one["bytes_done"] == one["bytes_total"] > 7 * 50 for one in progress)
    assert running["at"] <= stored["store_used_at"] <= stored["at"]
    assert [one["kind"] for one in stored["findings"]] == ["daemon_down"]
    assert text_up.stdout.startswith("All well: 2 accounts, 2 devices; last change ")
    assert "news of all mailboxes by push (IDLE, NOTIFY)" in text_up.stdout
    assert "(POP3 has no push)" in text_up.stdout
    assert "the daemon runs for" in text_up.stdout
    assert text_down.stdout.startswith("The daemon is not running; this is how things stood when syncd last ran, ")
    assert "in sync" in text_down.stdout
    assert "7 messages" in text_down.stdout


def test_mailbox_name_of_a_server_cannot_change_the_terminal(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon
) -> None:
    """Names from servers are shown escaped and mean nothing to the terminal or to our own markup."""
    name = "[red]\u202e x"
    deliver(dovecot, mail_user, 1, mailbox=name)
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)})
    daemon.sync()

    shown = daemon.syncd("status", "--mailboxes")

    assert "[red]\\u202e x" in shown.stdout
    assert "\u202e" not in shown.stdout


def test_status_watched_through_a_pipe_tells_what_changed_until_interrupted(make_daemon: MakeDaemon) -> None:
    """It follows the daemon over its end and the next one's beginning, and says nothing twice; Ctrl-C ends it."""
    daemon = make_daemon({})
    command = (sys.executable, "-m", "syncd", "status", "--watch", "--config", str(daemon.config_file))
    heads: list[str] = []

    def until(start: str) -> None:
        while not (line := watching.stdout.readline()).startswith(start):  # type: ignore[union-attr]  # it is a pipe
            assert line, f"it ended before: {start}"
        heads.append(line)

    with daemon:
        wait_until(lambda: all(one["doing"] == "idle" for one in daemon.status()["devices"]), 30, "all is at rest")
        watching = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        until("All well: no accounts, 2 devices")
        daemon.stop()
        until("The daemon is not running")
        daemon.start()
        until("another daemon was started")
        watching.send_signal(signal.SIGINT)
        rest, complaint = watching.communicate(timeout=30)

    assert (watching.returncode, complaint) == (0, "")
    assert "All well" not in rest


def test_live_status_redraws_in_place_and_leaves_its_last_picture(make_daemon: MakeDaemon) -> None:
    """The screen is not cleared between two pictures, never scrolled, and given back at the end."""
    daemon = make_daemon({})
    with daemon:
        wait_until(lambda: all(one["doing"] == "idle" for one in daemon.status()["devices"]), 30, "all is at rest")
        code, output = in_terminal(
            ("status", "--watch", "--config", str(daemon.config_file)), rows=4, until=b"more, all well", times=2
        )

    assert code == 0
    screen, _, after = output.partition("\x1b[?1049l")
    assert screen.count("\x1b[?1049h") == 1
    assert "\x1b[2J" not in screen
    assert screen.count("All well: no accounts, 2 devices") >= 2
    assert all(picture.count("\n") < 4 for picture in screen.split("\x1b[H"))
    assert "laptop" in after
    assert "phone" in after
    assert "Traceback" not in output


def test_json_is_told_a_line_at_a_time_while_it_is_watched(make_daemon: MakeDaemon) -> None:
    """Each is a whole status, and comes when something is another."""
    daemon = make_daemon({})
    command = (sys.executable, "-m", "syncd", "status", "--watch", "--json", "--config", str(daemon.config_file))
    with daemon:
        watching = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        daemon.stop()
        while (last := json.loads(watching.stdout.readline()))["daemon"] is not None:
            pass
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=30)

    assert first["format"] == last["format"] == 1
    assert [one["kind"] for one in last["findings"]] == ["daemon_down"]


def test_status_before_the_first_run_says_that_there_is_no_store(make_daemon: MakeDaemon) -> None:
    """Nothing is made by looking."""
    daemon = make_daemon({})

    ended = daemon.syncd("status")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(
        f"syncd: there is no store at {daemon.store}: syncd has not run yet; the first syncd sync, "
    )
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


@pytest.mark.parametrize("verb", ["sync-now"])
def test_verb_that_does_not_exist_yet_is_a_slip_of_usage(verb: str) -> None:
    """No command pretends."""
    ended = subprocess.run([sys.executable, "-m", "syncd", verb], cwd=ROOT, capture_output=True, text=True)

    assert ended.returncode == 2
    assert f"No such command '{verb}'" in ended.stderr


def test_commands_that_ask_the_daemon_load_no_heavy_library(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """Asking a running daemon costs no database and no web library."""
    code = "import os, sys, syncd.__main__\nos._exit = sys.exit\ntry: syncd.__main__.main()\nexcept SystemExit: pass\n"
    code += "print(*sys.modules)"

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
            assert loaded & {"sqlalchemy", "aiohttp", "aioimaplib", "alembic"} == set(), command


def keys(value: object) -> object:
    """Return the shape of a JSON value: keys, and the shapes of the first of each list."""
    if isinstance(value, dict):
        return {
            key: keys(inner)
            for key, inner in value.items()
            if key not in {"error", "retry_at", "since_at", "connection", "next_poll_at"}
        }
    if isinstance(value, list):
        return [keys(inner) for inner in value[:1]]
    return None


def in_terminal(arguments: tuple[str, ...], *, rows: int, until: bytes, times: int) -> tuple[int, str]:
    """Run syncd in a terminal of 80 columns until it has shown something so often, then press Ctrl-C.

    Return its exit code and what it wrote.
    """
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))
    environment = {"PATH": os.environ.get("PATH", ""), "TERM": "xterm-256color"}
    running = subprocess.Popen(
        [sys.executable, "-m", "syncd", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    output, is_interrupted = b"", False
    try:
        while select.select([main], [], [], 30)[0]:
            try:
                output += os.read(main, 65536)
            except OSError:  # nobody has the terminal any more
                break
            assert output.count(b"\x1b[H") < 50, output
            if not is_interrupted and output.count(until) >= times:
                running.send_signal(signal.SIGINT)
                is_interrupted = True
        assert is_interrupted, output
    finally:
        os.close(main)
        if not is_interrupted:
            running.kill()
    return running.wait(30), output.decode().replace("\r\n", "\n")


def paths(value: object, path: str = "") -> Iterator[str]:
    """Yield every key of a JSON value, as docs/commands.md names them."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}{key}"
            yield from paths(inner, f"{path}{key}.")
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner, f"{path.removesuffix('.')}[].")
