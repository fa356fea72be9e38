"""Floor 4: what is still to be fetched, for an account as a whole and for each device; only reads the store."""

from collections.abc import Mapping

from sqlalchemy import Connection

from syncd.config.model import Config
from syncd.mail.mailbox import MailboxName
from syncd.reconcile.planner import Selection
from syncd.store.bodies.wanted_bodies import weigh_wanted_bodies
from syncd.store.people.report import MailboxReport, StoreReport
from syncd.sync.policies import Takers, selection_of
from syncd.values import Value


class Wanted(Value):
    """Count messages, and add up their sizes."""

    messages: int = 0
    size_bytes: int = 0


def wanted(
    conn: Connection, config: Config, report: StoreReport, *, now: float
) -> Mapping[tuple[int, str | None], Wanted]:
    """Return by mailbox and device, None for all together, what is to be fetched; where it is nothing, there is no row.

    For a device that takes everything that is what has no body, also what is set aside; nobody is asked for it.
    """
    found: dict[tuple[int, str | None], Wanted] = {}
    takers, names = Takers(config), {one.id: one.name for one in report.accounts}
    for mailbox in report.mailboxes:
        account = names[mailbox.account_id]
        if not mailbox.is_synced or account not in config.accounts or not _lacking(mailbox).messages:
            continue
        name = MailboxName.parse(mailbox.name)
        taking = [device for device in config.devices if takers.takes(device, account, name)]
        selections = {device: selection_of(config.devices[device], now=now) for device in taking}
        of: dict[frozenset[Selection], Wanted] = {}
        for whose, taken in (*((device, {one}) for device, one in selections.items()), (None, {*selections.values()})):
            key = frozenset(taken)
            if key not in of:
                of[key] = _weighed(conn, mailbox, key, now=now)
            if of[key].messages:
                found[mailbox.id, whose] = of[key]
    return found


def _weighed(conn: Connection, mailbox: MailboxReport, taken: frozenset[Selection], *, now: float) -> Wanted:
    if not taken:
        return Wanted()
    if any(not one.is_limited for one in taken):
        return _lacking(mailbox)
    where = {"mailbox_id": mailbox.id, "uidvalidity": mailbox.uidvalidity}
    return Wanted(*weigh_wanted_bodies(conn, **where, selections=taken, now=now))


def _lacking(mailbox: MailboxReport) -> Wanted:
    """Return what has no body; what is not listed yet is taken to be as large as what is."""
    messages = mailbox.messages - mailbox.fetched + mailbox.unlisted
    unlisted_bytes = mailbox.size_bytes * mailbox.unlisted // mailbox.messages if mailbox.messages else 0
    return Wanted(messages, mailbox.size_bytes - mailbox.fetched_bytes + unlisted_bytes)
