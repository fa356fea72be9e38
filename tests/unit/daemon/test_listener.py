"""The listener over an app that serves one device: what it answers, to whom, and what that costs."""

import asyncio
import logging
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, event

from syncd.config.model import Config
from syncd.daemon.monitoring import health, listener
from syncd.daemon.monitoring.figures import Meter
from syncd.daemon.monitoring.listener import listening
from syncd.daemon.serving.app import App, open_app
from syncd.daemon.status.config_status import ConfigStatus
from syncd.errors import SyncdError
from syncd.values import replace
from tests.servers.ports import free_ports

READY_S = 10.0


@asynccontextmanager
async def watched(directory: Path, host: str = "127.0.0.1") -> AsyncIterator[tuple[App, int]]:
    """Yield an app that is not started yet, and the port on which it is watched."""
    config = Config.model_validate(
        {
            "store": {"url": f"sqlite:///{directory}/store/syncd.db"},
            "devices": {"laptop": {"path": directory / "laptop"}},
            "daemon": {"socket": directory / "sock"},
        }
    )
    port = free_ports(1)[0]
    async with open_app(config) as app, listening(app, host, port):
        yield app, port


async def answer(port: int, request: bytes, host: str = "127.0.0.1") -> tuple[int, str, bytes]:
    """Return status, head and body of what is answered to these octets."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request)
    async with asyncio.timeout(READY_S):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), head.decode(), body


async def get(port: int, target: str, method: str = "GET", host: str = "127.0.0.1") -> tuple[int, str, bytes]:
    """Return what is answered to a request of one line."""
    return await answer(port, f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(), host)


async def scraped(port: int) -> dict[str, float]:
    """Return the samples of a scrape, by name and labels."""
    status, _, body = await get(port, "/metrics")
    assert status == 200
    families = text_string_to_metric_families(body.decode())
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value for one in families for sample in one.samples
    }


async def at_rest(app: App) -> None:
    """Return when the device has had a whole round."""
    await app.devices["laptop"].task.requests.ask()


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect the statements that any database executes meanwhile."""
    asked: list[str] = []

    def collect(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", collect)
    try:
        yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", collect)


async def test_daemon_is_ready_from_its_start_to_its_stop_and_healthy_all_the_time(tmp_path: Path) -> None:
    """Who sends traffic or counts on the sync waits for ready; who would kill it looks at healthy."""
    async with watched(tmp_path) as (app, port):
        before = [(await get(port, path))[0] for path in ("/readyz", "/healthz")]
        app.start()
        during = [(await get(port, path))[0] for path in ("/readyz", "/healthz")]
        await app.stop()
        after = [(await get(port, path))[0] for path in ("/readyz", "/healthz")]

    assert (before, during, after) == ([503, 200], [200, 200], [503, 200])


async def test_store_that_does_not_answer_is_not_healthy_and_has_no_figures(tmp_path: Path) -> None:
    """What keeps mail safe is asked itself; the reason is told."""
    async with watched(tmp_path) as (app, port):
        await asyncio.to_thread(app.db.close)

        status, _, body = await get(port, "/healthz")

    assert (status, body) == (503, b"the store is closed\n")


async def test_store_that_hangs_keeps_no_scrape_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prometheus asks again and again: each would wait here, long after it has given up."""
    monkeypatch.setattr(health, "STORE_ANSWERS_S", 0.05)
    going = threading.Event()
    async with watched(tmp_path) as (app, port):
        hanging = [asyncio.create_task(app.db.read(lambda _: going.wait(READY_S))) for _ in range(64)]

        found = [await get(port, path) for path in ("/metrics", "/healthz")]

        going.set()
        await asyncio.gather(*hanging)
        monkeypatch.undo()
        after = await get(port, "/metrics")

    assert [(status, body) for status, _, body in found] == [(503, b"the store does not answer\n")] * 2
    assert after[0] == 200


async def test_nothing_else_is_answered_and_nothing_is_said_of_what_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reaches the port learns neither versions nor more paths, and what is no HTTP is no line of the log."""
    async with watched(tmp_path) as (_, port):
        found = [
            await get(port, "/metrics"),
            await get(port, "/metrics", "HEAD"),
            await get(port, "/status"),
            await get(port, "/"),
            await get(port, "/metrics", "POST"),
            await get(port, "/healthz", "DELETE"),
            await answer(port, b"\x16\x03\x01\x02 garbage\r\n\r\n"),
            await answer(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"),
        ]

    assert [status for status, _, _ in found] == [200, 200, 404, 404, 404, 404, 400, 400]
    assert all("\r\nServer: syncd\r\n" in head for _, head, _ in found)
    assert not any("aiohttp" in head or "Python" in head for _, head, _ in found)
    assert b"garbage" not in found[-2][2]
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


async def test_many_connections_leave_room_for_accounts_and_store(tmp_path: Path) -> None:
    """Whoever opens connections without end shuts out himself: the oldest idle ones end, the newest are answered."""
    async with watched(tmp_path) as (_, port):
        streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(80)]
        async with asyncio.timeout(READY_S):
            closed = [await _is_closed(reader) for reader, _ in streams[:16]]
        answers = []
        for reader, writer in (streams[16], streams[79]):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answers.append(await reader.read())
        for _, writer in streams:
            writer.close()

    assert closed == [True] * 16
    assert all(one.startswith(b"HTTP/1.1 200") for one in answers)


async def test_connection_that_asks_for_nothing_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has asked once may wait longer for its next request."""
    monkeypatch.setattr(listener, "_FIRST_REQUEST_S", 0.3)
    async with watched(tmp_path) as (_, port), asyncio.timeout(READY_S):
        asking, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        await asking.readuntil(b"stopping\n")
        silent, unused = await asyncio.open_connection("127.0.0.1", port)
        assert await _is_closed(silent)
        unused.close()

        writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await asking.readuntil(b"\r\n")).startswith(b"HTTP/1.1 503")
        writer.close()


async def _is_closed(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


async def test_watching_costs_the_store_nothing_while_nothing_is_written(tmp_path: Path) -> None:
    """A scrape and a probe every few seconds neither read the store nor end the rest of a daemon with nothing to do."""
    async with watched(tmp_path) as (app, port):
        app.start()
        await at_rest(app)
        await at_rest(app)
        meter = await Meter.of(app, fresh_s=0.0)
        await meter.read()
        writes = app.db.writes

        with statements() as of_scrape:
            figures = await meter.read()
        with statements() as of_probes:
            await get(port, "/healthz")
            await get(port, "/readyz")

    assert (of_scrape, of_probes) == ([], ["SELECT 1"])
    assert app.db.writes == writes
    (laptop,) = figures.devices
    assert (laptop.tally.state, laptop.runs.rounds >= 2) == ("active", True)


async def test_state_of_the_configuration_is_told(tmp_path: Path) -> None:
    """An edit that cannot be used is no silent one: a gauge goes to 0 until the file is good again."""
    name = "syncd_config_last_reload_success"
    async with watched(tmp_path) as (app, port):
        at_start = await scraped(port)
        app.config_state = replace(app.config_state, problems=("syncd.toml:1: gaurd: unknown key",))
        refused = await scraped(port)
        app.config_state = ConfigStatus(2e9)
        good = await scraped(port)

    assert at_start[f"{name}ful"] == 1
    assert (refused[f"{name}ful"], refused[f"{name}_timestamp_seconds"]) == (0, at_start[f"{name}_timestamp_seconds"])
    assert (good[f"{name}ful"], good[f"{name}_timestamp_seconds"]) == (1, 2e9)


async def test_address_in_use_names_its_key(tmp_path: Path) -> None:
    """The daemon does not run unwatched where it was asked to be watched."""
    async with watched(tmp_path) as (app, port):
        with pytest.raises(SyncdError) as in_use:
            async with listening(app, "127.0.0.1", port):
                pass
        with pytest.raises(SyncdError) as not_ours:
            async with listening(app, "192.0.2.1", port):
                pass
        with pytest.raises(SyncdError) as unknown:
            async with listening(app, "no-such-host.invalid", port):
                pass

    assert str(in_use.value) == f"daemon.listen: 127.0.0.1:{port} cannot be listened on: address already in use"
    assert str(not_ours.value).endswith(f"192.0.2.1:{port} cannot be listened on: cannot assign requested address")
    assert str(unknown.value).startswith("daemon.listen: no-such-host.invalid:")


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python knows no IPv6")
async def test_ipv6_address_is_listened_on(tmp_path: Path) -> None:
    """An address in brackets is one like others."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    async with watched(tmp_path, "::1") as (_, port):
        found = await get(port, "/healthz", host="::1")

    assert found[0] == 200


@pytest.mark.parametrize(("host", "is_warned"), [("0.0.0.0", True), ("127.0.0.1", False), ("localhost", False)])
async def test_address_that_others_reach_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str, is_warned: bool
) -> None:
    """Names of accounts are not secret, but nobody should publish them without knowing."""
    async with watched(tmp_path, host):
        pass

    assert ("listener_exposed" in capsys.readouterr().out) is is_warned
