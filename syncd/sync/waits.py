"""Floor 4: what has to happen before there is more to plan, counted; only reads the store."""

from collections.abc import Iterable, Iterator
from enum import StrEnum

from sqlalchemy import Connection

from syncd.config.model import Config
from syncd.store.bodies.wanted_bodies import count_wanted_bodies
from syncd.store.files import added_files, deletions, uploads
from syncd.store.people.report import account_ids
from syncd.store.trees import devices, troubles
from syncd.sync.policies import Takers
from syncd.sync.served import ServedReplica, served_replicas
from syncd.values import Value


class What(StrEnum):
    """Say what is to happen first."""

    LIST = "list"  # a mailbox that was never read to its end; messages counts nothing
    FETCH = "fetch"  # messages whose bodies the store lacks
    FIRST_LOOK = "first_look"  # a replica that nobody has looked at; messages counts nothing
    TAKE_IN = "take_in"  # files that a device added or rewrote
    SECOND_LOOK = "second_look"  # files that are missing, and may be back
    RETRY = "retry"  # messages and files that were refused, or went wrong


class Wait(Value):
    """Say how many messages of a mailbox wait for what. device None: on the side of the server."""

    account: str
    mailbox: str
    device: str | None
    what: What
    messages: int


def waits(conn: Connection, config: Config, *, now: float) -> Iterator[Wait]:
    """Yield what waits in the mailboxes that the configuration serves."""
    served = tuple(served_replicas(conn, config))
    mailboxes = {one.mailbox.id: one for one in served}
    sleeping = dict(troubles.count_sleeping(conn, now=now))
    ids = account_ids(conn)
    for account in {one.account for one in served}:
        for place, number in uploads.count_refused(conn, account_id=ids[account], now=now).items():
            sleeping[place] = sleeping.get(place, 0) + number
    for one in mailboxes.values():
        if one.mailbox.is_synced and not one.mailbox.is_listed:
            yield Wait(one.account, str(one.mailbox.name), None, What.LIST, 0)
        yield from _waits(one, None, What.FETCH, _wanted(conn, config, one, now=now))
        yield from _waits(one, None, What.RETRY, sleeping.get((one.mailbox.id, None), 0))
    yield from _of_devices(conn, served, sleeping)


def _of_devices(
    conn: Connection, served: Iterable[ServedReplica], sleeping: dict[tuple[int, int | None], int]
) -> Iterator[Wait]:
    added, missing = added_files.count_added(conn), deletions.count_missing(conn)
    for one in served:
        of = one.replica
        if of is None or of.listed_at is None:
            yield Wait(one.account, str(one.mailbox.name), one.device, What.FIRST_LOOK, 0)
        if of is not None:
            yield from _waits(one, one.device, What.TAKE_IN, added.get(of.id, 0))
            yield from _waits(one, one.device, What.SECOND_LOOK, missing.get(of.id, 0))
            yield from _waits(one, one.device, What.RETRY, sleeping.get((of.mailbox_id, of.device_id), 0))


def _waits(one: ServedReplica, device: str | None, what: What, messages: int) -> Iterator[Wait]:
    if messages:
        yield Wait(one.account, str(one.mailbox.name), device, what, messages)


def _wanted(conn: Connection, config: Config, one: ServedReplica, *, now: float) -> int:
    row = one.mailbox
    if not row.is_listed:
        return 0
    without = devices.without_part(conn, mailbox_id=row.id)
    selections = Takers(config).selections(one.account, row.name, now=now, without=without)
    where = {"mailbox_id": row.id, "uidvalidity": row.cursor.uidvalidity}
    return count_wanted_bodies(conn, **where, selections=selections, now=now)
