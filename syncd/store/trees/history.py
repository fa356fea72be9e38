"""Floor 3: the history: what changed, where it came from, what was done and what was held; for people alone.

Theory. A row is written in the transaction that settles what it tells of, so that it is as true and as durable as that;
nothing is ever decided by it. What a person did and what destroys has a row for each message. What only follows from
that elsewhere, and much of it at once, is one row with a number, so that a first sync costs a row for a batch. Rows
that are too old go as new ones come, at most two for each, so that no call costs more than what it tells.

House rules. To tell of something new, call `tell` in the transaction that settles it: with `of` an effect, which any
effect that names a message can be, or with a `Verb` for what is none. A message is followed over its moves by its body
(`recall`), so what becomes another message needs no row of its own there. No index beside the id and no foreign key:
both would be paid for by every write, and what a row names may be gone.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cache

from sqlalchemy import Connection, Delete, bindparam, delete, func, or_, select

from syncd.mail.flags import Flags, delta_as_text
from syncd.reconcile.effects import Copy, Deliver, Effect, Expunge, Move, Rename, Shift, Store
from syncd.store.engine.queries import insert_at_once
from syncd.store.tables.own_tables import history
from syncd.values import Value

RETENTION_S = 90 * 86400.0
ROWS_MAX = 500_000
"""What is kept at most, by age and by number."""
EACH_MAX = 20
"""How many messages of what follows from something else have a row each."""


class Verb(StrEnum):
    """Say what happened that is no effect: seen on a server, decided by a person, or concerning a whole mailbox."""

    APPEAR = "appear"  # messages, in a mailbox of the server
    VANISH = "vanish"  # from a mailbox of the server: expunged there, or moved
    LIST = "list"  # messages that were there when the mailbox was first read
    RENUMBER = "renumber"  # messages found again under a new UIDVALIDITY
    DELE = "dele"  # the copy in a maildrop, the store having it
    RELEASE = "release"
    DISCARD = "discard"
    DISSOLVE = "dissolve"  # what was held waits no more: its cause is gone, or the rule allows it by now
    ADOPT = "adopt"
    RESTORE = "restore"  # a deleted message that a person wanted back
    CREATE_MAILBOX = "create mailbox"
    RENAME_MAILBOX = "rename mailbox"
    DELETE_MAILBOX = "delete mailbox"


class Outcome(StrEnum):
    """Say how it ended."""

    DONE = "done"
    HELD = "held"
    REFUSED = "refused"


class Origin(Value):
    """Say who wanted it. device_id None for the kind device: several devices."""

    kind: str
    device_id: int | None = None


SERVER = Origin("server")
PERSON = Origin("person")
SYNCD = Origin("syncd")
DEVICES = Origin("device")


class Happening(Value):
    """What happened to a message, or without one to a mailbox or device; reason: why it was held or refused."""

    verb: str
    message_id: int | None = None
    detail: str = ""
    reason: str = ""
    messages: int = 1


_FOLLOWING = frozenset({"deliver", "rename", "shift", Verb.APPEAR, Verb.DELE, Verb.DISSOLVE})


def of(effect: Effect, *, message_id: int | None = None, reason: str = "") -> Happening:
    """Return an effect as it is told; message_id: of the message that it made."""
    verb = type(effect).__name__.lower()
    return Happening(verb, message_id or getattr(effect, "message_id", None), _detail(effect), reason)


def flags_changed(message_id: int, *, before: Flags, after: Flags) -> Happening:
    """Return a change of flags that a server told of."""
    return Happening("store", message_id, delta_as_text(add=after - before, remove=before - after))


def origin_of(device_ids: Iterable[int], *, otherwise: Origin = DEVICES) -> Origin:
    """Return the one of these devices as the origin, all of them, or without any what it is otherwise."""
    ids = set(device_ids)
    return otherwise if not ids else Origin("device", ids.pop()) if len(ids) == 1 else DEVICES


def tell(
    conn: Connection,
    happenings: Iterable[Happening],
    *,
    now: float,
    origin: Origin,
    mailbox_id: int | None = None,
    device_id: int | None = None,
    outcome: Outcome = Outcome.DONE,
) -> None:
    """Write what happened in a mailbox: on a device, without one on its server."""
    found = _brief(happenings)
    insert_at_once(
        conn,
        history,
        [
            {
                "at": now,
                "mailbox_id": mailbox_id,
                "device_id": device_id,
                "message_id": one.message_id,
                "messages": one.messages,
                "origin": origin.kind,
                "origin_device_id": origin.device_id,
                "verb": str(one.verb),
                "detail": _plain(one.detail),
                "outcome": outcome.value,
                "reason": _plain(one.reason),
            }
            for one in found
        ],
    )
    if found:
        _sweep(conn, now=now, at_most=2 * len(found))


def tell_of_devices(
    conn: Connection,
    wanted: Iterable[tuple[Happening, Iterable[int]]],
    *,
    now: float,
    mailbox_id: int,
    outcome: Outcome = Outcome.DONE,
) -> None:
    """Write what happened in a mailbox of a server because these devices, each time, wanted it."""
    by_origin: defaultdict[Origin, list[Happening]] = defaultdict(list)
    for one, device_ids in wanted:
        by_origin[origin_of(device_ids)].append(one)
    for origin, happenings in by_origin.items():
        tell(conn, happenings, now=now, origin=origin, mailbox_id=mailbox_id, outcome=outcome)


def tell_bulk(conn: Connection, verb: Verb, messages: int, *, now: float, mailbox_id: int) -> None:
    """Write one row for many messages of a server's mailbox."""
    tell(conn, [Happening(verb, messages=messages)], now=now, origin=SERVER, mailbox_id=mailbox_id)


def _brief(happenings: Iterable[Happening]) -> Sequence[Happening]:
    """Return one for each group of what follows from something else, if the group is large."""
    groups: defaultdict[tuple[str, str, str], list[Happening]] = defaultdict(list)
    for one in happenings:
        groups[one.verb, one.detail, one.reason].append(one)
    found: list[Happening] = []
    for (verb, detail, reason), group in groups.items():
        if verb in _FOLLOWING and len(group) > EACH_MAX:
            found.append(Happening(verb, None, detail, reason, len(group)))
        else:
            found += group
    return found


def _plain(text: str) -> str:
    """Return text as any database takes it, whatever a server has said."""
    return text.replace("\0", "").encode(errors="replace").decode()


def _sweep(conn: Connection, *, now: float, at_most: int) -> None:
    conn.execute(_sweeping(), {"before": now - RETENTION_S, "at_most": at_most})


@cache
def _sweeping() -> Delete:
    oldest = select(history.c.id).order_by(history.c.id).limit(bindparam("at_most"))
    newest = select(func.max(history.c.id)).scalar_subquery()
    is_over = or_(history.c.at < bindparam("before"), history.c.id <= newest - ROWS_MAX)
    return delete(history).where(history.c.id.in_(oldest), is_over)


def _detail(effect: Effect) -> str:
    match effect:
        case Deliver():  # first, for of these there are thousands
            return ""
        case Store(add=add, remove=remove) | Rename(add=add, remove=remove):
            return delta_as_text(add=add, remove=remove)
        case Move(to=to) | Copy(to=to) | Shift(to=to):
            return f"to {to}"
        case Expunge(is_replaced=True):
            return "replaced"
    return ""
