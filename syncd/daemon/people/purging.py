"""Floor 5: accounts and devices purged that the configuration does not have, by the daemon or a command."""

import asyncio
import time
from collections.abc import Collection
from functools import partial

from sqlalchemy import Connection

from syncd.config.model import Config, LogLevel
from syncd.daemon.people.answers import PurgeLine, PurgeReport, PurgeRequest
from syncd.daemon.process import logs
from syncd.errors import SyncdError, Temper
from syncd.store.engine.database import Database
from syncd.store.people import purging
from syncd.store.people.purging import Kind, Left
from syncd.sync.sweeper import Sweeper


class NotPurgeableError(SyncdError):
    """What is named is configured, or not known."""

    def __init__(self, text: str) -> None:
        super().__init__(text, temper=Temper.GIVE_UP)


def read_left(conn: Connection, config: Config, *, wanted: PurgeRequest) -> PurgeReport:
    """Return what `purge` would remove; NotPurgeableError where a name means nothing."""
    return _report(_chosen(conn, config, wanted))


def purge(conn: Connection, config: Config, *, wanted: PurgeRequest) -> PurgeReport:
    """Give up what is named, all of it or, with NotPurgeableError, nothing; the next sweep removes it."""
    chosen = _chosen(conn, config, wanted)
    if chosen:
        purging.purge(conn, chosen)
    return _report(chosen)


def purge_alone(config: Config, wanted: PurgeRequest) -> PurgeReport:
    """Own the store for as long as it takes to remove all of it; StoreBusyError while another syncd does."""
    logs.configure(config.daemon, at_least=LogLevel.ERROR)
    with Database.open(config.store.url.get_secret_value(), auto_migrate=False) as db:
        return asyncio.run(_purge(db, config, wanted))


async def _purge(db: Database, config: Config, wanted: PurgeRequest) -> PurgeReport:
    report = await db.write(partial(purge, config=config, wanted=wanted))
    await Sweeper(db, retention_s=config.store.retention_s, clock=time.time, pause_s=0.0).sweep_if_due()
    return report


def _chosen(conn: Connection, config: Config, wanted: PurgeRequest) -> tuple[Left, ...]:
    left = purging.left_over(conn, accounts=config.accounts, devices=config.devices)
    if not (wanted.accounts or wanted.devices):
        return left
    named = {Kind.ACCOUNT: wanted.accounts, Kind.DEVICE: wanted.devices}
    configured: dict[Kind, Collection[str]] = {Kind.ACCOUNT: config.accounts, Kind.DEVICE: config.devices}
    known = {(one.kind, one.name): one for one in left}
    for kind, names in named.items():
        for name in names:
            if name in configured[kind]:
                raise NotPurgeableError(f"{kind} {name} is in the configuration: take it out of there first")
            if (kind, name) not in known:
                raise NotPurgeableError(f"the store has nothing of {kind} {name}")
    return tuple(one for one in left if one.name in named[one.kind])


def _report(left: Collection[Left]) -> PurgeReport:
    return PurgeReport(tuple(PurgeLine(str(one.kind), one.name, one.messages, one.is_only_copy) for one in left))
