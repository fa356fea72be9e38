"""Floor 5: status, plan and history read from a store: the daemon's answers, and ours while none runs."""

import json
import os
import time
from collections.abc import Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from sqlalchemy import Connection

from syncd.config.model import Config
from syncd.daemon.people.answers import HistoryReport, PlanLine, PlanReport, PlanWait
from syncd.daemon.status.config_status import ConfigStatus
from syncd.daemon.status.snapshot import HOLDS_MAX, TROUBLES_MAX, holds_of, status_of
from syncd.daemon.status.status import DaemonStatus, HookStatus, Status
from syncd.reconcile.effects import as_json, as_text
from syncd.store.engine.database import Database
from syncd.store.people.entries import Question
from syncd.store.people.recall import recall, unknown
from syncd.store.people.report import StoreReport, held, store_report
from syncd.store.trees.accounts import never_read
from syncd.sync.activity import Activities
from syncd.sync.planned import planned
from syncd.sync.policies import selections_of
from syncd.sync.wanted import Wanted, wanted
from syncd.values import Value, replace

_EFFECTS_MAX = 10_000
_COUNTS_MAX_S = 60.0
"""What a device with a `max_age` takes changes by itself."""
_WATCH_SHARE = 20
_WATCHED_MAX_S = 10.0


def this_daemon(*, started_at: float) -> DaemonStatus:
    """Describe this process."""
    return DaemonStatus(os.getpid(), installed_version(), started_at)


def installed_version() -> str:
    """Return the version of this syncd."""
    try:
        return version("syncd")
    except PackageNotFoundError:
        return "source tree"


class Counts(Value):
    """Hold what status counts in the store, and when and at what cost it was read.

    cost_s: of the processor. read_at: by a clock that never jumps.
    """

    report: StoreReport
    wanted: Mapping[tuple[int, str | None], Wanted]
    config: Config
    counted_at: float
    writes: int | None = None
    read_at: float = 0.0
    cost_s: float = 0.0

    def are_fresh(self, config: Config, *, writes: int | None, now: float, is_watched: bool) -> bool:
        """Tell whether they will do, now that `writes` were written.

        For whoever watches they may be a little old, the older the more it costs to read them: at most a twentieth of
        the time goes into that.
        """
        age_s = now - self.read_at
        if self.config is not config or age_s > _COUNTS_MAX_S:
            return False
        if self.writes is not None and self.writes == writes:
            return True
        return is_watched and age_s < min(self.cost_s * _WATCH_SHARE, _WATCHED_MAX_S)


class StatusReader:
    """Read the status for a daemon again and again, without counting what is as it was."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._counts: Counts | None = None

    async def read(
        self,
        config: Config,
        *,
        now: float,
        daemon: DaemonStatus,
        activities: Activities,
        config_state: ConfigStatus,
        hooks: tuple[HookStatus, ...] = (),
        is_watched: bool,
    ) -> Status:
        """Return the status; is_watched: counts that are some seconds old will do."""
        writes, at = self._db.writes, time.monotonic()  # before it is read: a write in between is read next time
        counts = self._counts
        if counts is None or not counts.are_fresh(config, writes=writes, now=at, is_watched=is_watched):
            counts = await self._db.read(partial(_count, config=config, now=now))
            self._counts = counts = replace(counts, writes=writes, read_at=at)
        return status_of(
            config,
            counts.report,
            wanted=counts.wanted,
            counted_at=now if counts.writes is not None and counts.writes == writes else counts.counted_at,
            now=now,
            daemon=daemon,
            activities=activities,
            config_state=config_state,
            hooks=hooks,
        )


async def read_status(
    db: Database,
    config: Config,
    *,
    now: float,
    activities: Activities | None = None,
    store_used_at: float | None = None,
    store_owner_pid: int | None = None,
) -> Status:
    """Return the status; without activities it is that of a store at rest, used last at that time, or owned by that."""
    counts = await db.read(partial(_count, config=config, now=now))
    return status_of(
        config,
        counts.report,
        wanted=counts.wanted,
        now=now,
        activities=activities,
        store_used_at=store_used_at,
        store_owner_pid=store_owner_pid,
    )


def _count(conn: Connection, *, config: Config, now: float) -> Counts:
    began_s = time.thread_time()
    report = store_report(conn, troubles_max=TROUBLES_MAX, selections=selections_of(config, now=now))
    missing = wanted(conn, config, report, now=now)
    return Counts(report, missing, config, counted_at=now, cost_s=time.thread_time() - began_s)


async def read_plan(db: Database, config: Config, *, now: float) -> PlanReport:
    """Return what is planned as far as the store knows; nothing is done."""
    found = await db.read(partial(planned, config=config, now=now, limit=_EFFECTS_MAX))
    lines = tuple(
        PlanLine(
            one.account,
            one.mailbox,
            one.device,
            as_text(one.effect),
            json.loads(as_json(one.effect)),
            uid=one.uid,
            held=None if one.held is None else one.held.value,
        )
        for one in found.effects
    )
    first = tuple(PlanWait(one.account, one.mailbox, one.device, one.what.value, one.messages) for one in found.waits)
    waiting = holds_of(config, await db.read(held))
    unseen = await db.read(partial(never_read, names=tuple(config.accounts)))
    return PlanReport(lines, found.is_whole, waiting[:HOLDS_MAX], first, unseen)


async def read_history(db: Database, question: Question) -> HistoryReport:
    """Return the newest lines of the history that are asked for."""
    found = await db.read(partial(recall, question=question))
    nameless = None if found else await db.read(partial(unknown, question=question))
    return HistoryReport(found[-question.limit :], len(found) <= question.limit, nameless)
