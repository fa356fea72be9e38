"""Floor 5: holds listed, shown, released and discarded, by the daemon or by a command that owns the store itself."""

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from syncd.config.model import Config
from syncd.daemon.people.answers import Decision, HoldDetail, HoldsReport
from syncd.daemon.status.snapshot import holds_of
from syncd.daemon.status.status import HoldStatus
from syncd.errors import SyncdError, Temper
from syncd.reconcile.effects import as_text
from syncd.store.due.discards import discard_hold
from syncd.store.people.report import HoldReport, held
from syncd.store.rounds.holds import Hold, HoldState, holds, release_hold, tell
from syncd.store.trees.history import PERSON, Verb

_HOLDS_MAX = 1000
_EFFECTS_MAX = 1000


class UnknownHoldError(SyncdError):
    """There is no hold of this number any more: what it held happened, is not asked for, or is held with others."""

    def __init__(self, hold_id: int) -> None:
        super().__init__(f"there is no hold {hold_id} (any more); syncd holds lists them", temper=Temper.GIVE_UP)


def read_holds(conn: Connection, config: Config) -> HoldsReport:
    """Return the first holds."""
    found = holds_of(config, held(conn))
    return HoldsReport(found[:_HOLDS_MAX], len(found) <= _HOLDS_MAX)


def read_hold(conn: Connection, config: Config, *, hold_id: int) -> HoldDetail:
    """Return what a hold holds, its first effects in words; UnknownHoldError if there is none."""
    for one, status in _held(conn, config):
        if status.id == hold_id:
            effects = one.hold.effects
            lines = tuple(as_text(effect) for effect in effects[:_EFFECTS_MAX])
            return HoldDetail(status, lines, len(effects) <= _EFFECTS_MAX)
    raise UnknownHoldError(hold_id)


def release(conn: Connection, config: Config, *, wanted: Decision, now: float) -> HoldsReport:
    """Let the next round of their devices or accounts do what these holds hold, and nothing else.

    UnknownHoldError, and none is released, if one of them is not there.
    """
    chosen = _chosen(conn, config, wanted)
    for status, hold in chosen:
        if release_hold(conn, hold_id=status.id) and hold.state is HoldState.HELD:
            tell(conn, hold, Verb.RELEASE, origin=PERSON, now=now)
    return HoldsReport(tuple(status for status, _ in chosen), is_whole=True)


def discard(conn: Connection, config: Config, *, wanted: Decision, now: float) -> HoldsReport:
    """Put back what these holds hold, in the next rounds; UnknownHoldError, and none is, if one is not there."""
    chosen = _chosen(conn, config, wanted)
    for _, hold in chosen:
        # NOTE: an earlier one of them may have taken messages out of it, or ended it.
        for current in (one for one in holds(conn, mailbox_id=hold.mailbox_id) if one.id == hold.id):
            tell(conn, current, Verb.DISCARD, origin=PERSON, now=now)
            discard_hold(conn, current, now=now)
    return HoldsReport(tuple(status for status, _ in chosen), is_whole=True)


def _chosen(conn: Connection, config: Config, wanted: Decision) -> Sequence[tuple[HoldStatus, Hold]]:
    found = {status.id: (status, one.hold) for one, status in _held(conn, config)}
    ids = tuple(found) if wanted.is_all else tuple(dict.fromkeys(wanted.ids))
    for hold_id in ids:
        if hold_id not in found:
            raise UnknownHoldError(hold_id)
    return [found[hold_id] for hold_id in ids]


def _held(conn: Connection, config: Config) -> Iterator[tuple[HoldReport, HoldStatus]]:
    for one in held(conn):
        for status in holds_of(config, (one,)):
            yield one, status
