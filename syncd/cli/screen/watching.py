"""Floor 6: the status asked for again and again, whatever becomes of the daemon meanwhile."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from syncd.cli.client import Client, decoded
from syncd.cli.screen.words import ago, share, shown
from syncd.config.load import read
from syncd.config.problems import ConfigError
from syncd.config.reachable import socket_of
from syncd.daemon.people.answers_json import STATUS_JSON
from syncd.daemon.status.status import AccountStatus, DeviceStatus, Progress, Status
from syncd.errors import SyncdError
from syncd.values import replace

if TYPE_CHECKING:
    from syncd.config.model import Config

T = TypeVar("T", AccountStatus, DeviceStatus)

_ANSWER_S = 5.0
"""Who watches is told after so long that what is shown is old."""
_STORE_STEP_S = 10.0
"""A store that no daemon has changes seldom, and to count all of it costs something."""


class Watching:
    """Ask a daemon, and the store while none runs; what goes wrong with that after the first time is only told."""

    def __init__(self, config: Path | None, query: str, *, answer_s: float = _ANSWER_S) -> None:
        self._config = config
        self._query = query
        self._answer_s = answer_s
        self._last: Status | None = None
        self._stored: tuple[float, Status] | None = None
        self._begun: tuple[int, float] | None = None
        self._begun_again_at: float | None = None
        self._trouble = ""

    def statuses(self, step_s: float) -> Iterator[Status]:
        """Yield the status every `step_s` seconds, without end; raises what goes wrong at the first time."""
        while True:
            began = time.monotonic()
            try:
                self._last, self._trouble = self._now(), ""
            except (SyncdError, ConfigError) as error:
                if self._last is None:
                    raise
                self._trouble = str(error)
            yield self._last
            time.sleep(max(step_s - (time.monotonic() - began), step_s / 2))

    def remarks(self, at: float) -> Iterator[tuple[str, bool]]:
        """Yield what is to be said of the watching itself, and whether it is troubled."""
        if self._trouble:
            yield f"this is as of {ago(time.time() - at)}: {shown(self._trouble)}", True
        if self._begun_again_at is not None:
            yield f"another daemon was started {ago(at - self._begun_again_at)}", False

    def _now(self) -> Status:
        # NOTE: its warnings would come again each time, and into the picture.
        path = socket_of(self._config) or read(self._config, needs_logins=False).config.daemon.socket
        answer = Client(path).get_if_running(f"/status?{self._query}", timeout_s=self._answer_s)
        if answer is None:
            return self._of_store()
        self._stored = None
        status = decoded(STATUS_JSON, answer)
        if status.daemon is not None:
            begun = status.daemon.pid, status.daemon.started_at
            if self._begun not in {None, begun}:
                self._begun_again_at = status.daemon.started_at
            self._begun = begun
        return status

    def _of_store(self) -> Status:
        if self._stored is None or time.monotonic() - self._stored[0] > _STORE_STEP_S:
            self._stored = time.monotonic(), from_store(read(self._config, needs_logins=False).config)
        return replace(self._stored[1], at=time.time())


def from_store(config: "Config") -> Status:
    """Return what the store remembers; SyncdError if there is none, or it cannot be read."""
    import asyncio

    from syncd.daemon.people.reading import read_status
    from syncd.store.engine.database import Database
    from syncd.store.engine.owner import owner_pid

    url = config.store.url.get_secret_value()
    used_at, pid = Database.last_used_at(url), owner_pid(config.store.sqlite_path)
    with Database.open_readonly(url) as db:
        return asyncio.run(read_status(db, config, now=time.time(), store_used_at=used_at, store_owner_pid=pid))


def without_times(status: Status) -> Status:
    """Return what of a status is news when it is another: no times, no rates, and of progress the percent."""
    return replace(
        status,
        at=0.0,
        changed_at=None,
        counted_at=None,
        accounts=tuple(
            replace(
                _still(one),
                succeeded_at=None,
                failed_at=None,
                failures=0,
                connection=None,
                news=replace(one.news, next_poll_at=None),
            )
            for one in status.accounts
        ),
        devices=tuple(replace(_still(one), settled_at=None) for one in status.devices),
        hooks=tuple(replace(one, is_running=False, runs=0, failures=0, retry_at=None) for one in status.hooks),
    )


def _still(one: T) -> T:
    percent = Progress(messages_done=int(share(one.progress) * 100), messages_total=100)
    return replace(one, doing="", since_at=None, retry_at=None, lag_s=None, done=0, total=0, progress=percent)
