"""Messages to the service manager."""

import asyncio
import secrets
import socket
from pathlib import Path

import pytest

from syncd.daemon.process import logs
from syncd.daemon.process.service import notify, notify_status, starting, summary_of, watchdog_s
from syncd.sync.activity import Activities, Activity


@pytest.mark.parametrize("is_abstract", [True, False])
def test_lines_arrive_as_one_datagram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_abstract: bool) -> None:
    """At the socket that the manager named, in the file system or abstract."""
    name = f"syncd-test-{secrets.token_hex(8)}"
    monkeypatch.chdir(tmp_path)
    address = f"\0{name}" if is_abstract else f"/tmp/{name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if is_abstract else address)

        notify("READY=1", "STATUS=2 accounts")

        assert manager.recv(1000) == b"READY=1\nSTATUS=2 accounts"
    Path(f"/tmp/{name}").unlink(missing_ok=True)


def test_status_is_one_line_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a server says can neither pass for another message to the manager nor show a password."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("notify")
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        logs.secrets.add("pa55-of-a-status")

        notify_status("failed: pa55-of-a-status\nREADY=1")

        assert manager.recv(1000) == b"STATUS=failed: [redacted]\\nREADY=1"


@pytest.mark.parametrize("address", ["", "relative", "/nonexistent/notify"])
def test_nobody_to_tell_is_no_error(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Without a manager, or with one that is gone, nothing happens."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)

    notify("READY=1")


async def test_slow_start_asks_for_more_time_until_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is upgraded for minutes is not taken for one that hangs; a quick start asks for nothing."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("notify")
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        loop = asyncio.get_running_loop()

        async with starting(step_s=0.01):
            async with asyncio.timeout(5):
                heard = [await loop.sock_recv(manager, 1000) for _ in range(2)]
        async with starting(step_s=60):
            await asyncio.sleep(0)

        assert heard == [b"EXTEND_TIMEOUT_USEC=60000000\nSTATUS=opening the store"] * 2


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "42"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_is_ours_only_if_it_says_so(environment: dict[str, str], expected: float | None) -> None:
    """A process that inherits the variables of another feeds nobody."""
    assert expected == watchdog_s(environment, 42)


@pytest.mark.parametrize(
    ("accounts", "expected"),
    [
        ({}, "0 accounts; 0 devices"),
        ({"work": Activity("idle")}, "1 account, 1 idle; 0 devices"),
        (
            {
                "work": Activity("idle", error="login refused"),
                "isp": Activity("idle"),
                "home": Activity("reading INBOX"),
                "old": Activity(error="gone"),
            },
            "4 accounts, 1 idle, 1 busy, 2 failing: work: login refused; 0 devices",
        ),
    ],
)
def test_one_line_says_how_everybody_is(accounts: dict[str, Activity], expected: str) -> None:
    """Who fails is counted once, and the first of them is named with the reason."""
    assert expected == summary_of(Activities(accounts=accounts))
