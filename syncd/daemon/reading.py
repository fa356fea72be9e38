"""Floor 5: status, plan and history read from a store: the daemon's answers, and ours while none runs."""

import json
import os
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from syncd.config.model import Config
from syncd.daemon.answers import HistoryReport, PlanLine, PlanReport, PlanWait
from syncd.daemon.snapshot import HOLDS_MAX, TROUBLES_MAX, holds_of, status_of
from syncd.daemon.status import ConfigStatus, DaemonStatus, HookStatus, Status
from syncd.reconcile.effects import as_json, as_text
from syncd.store.database import Database
from syncd.store.entries import Question
from syncd.store.recall import recall
from syncd.store.report import held, store_report
from syncd.sync.activity import Activities
from syncd.sync.planned import planned

_EFFECTS_MAX = 10_000


def this_daemon(*, started_at: float) -> DaemonStatus:
    """Describe this process."""
    return DaemonStatus(os.getpid(), installed_version(), started_at)


def installed_version() -> str:
    """Return the version of this syncd."""
    try:
        return version("syncd")
    except PackageNotFoundError:
        return "source tree"


async def read_status(
    db: Database,
    config: Config,
    *,
    now: float,
    daemon: DaemonStatus | None = None,
    activities: Activities | None = None,
    config_state: ConfigStatus | None = None,
    hooks: tuple[HookStatus, ...] = (),
) -> Status:
    """Return the status; without a daemon's activities it is that of a store at rest."""
    report = await db.read(partial(store_report, troubles_max=TROUBLES_MAX))
    return status_of(
        config, report, now=now, daemon=daemon, activities=activities, config_state=config_state, hooks=hooks
    )


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
    return PlanReport(lines, found.is_whole, waiting[:HOLDS_MAX], first)


async def read_history(db: Database, question: Question) -> HistoryReport:
    """Return the newest lines of the history that are asked for."""
    found = await db.read(partial(recall, question=question))
    return HistoryReport(found[-question.limit :], len(found) <= question.limit)
