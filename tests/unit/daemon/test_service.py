"""Messages to the service manager."""

import secrets
import socket
from pathlib import Path

import pytest

from syncd.daemon.service import notify


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


@pytest.mark.parametrize("address", ["", "relative", "/nonexistent/notify"])
def test_nobody_to_tell_is_no_error(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Without a manager, or with one that is gone, nothing happens."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)

    notify("READY=1")
