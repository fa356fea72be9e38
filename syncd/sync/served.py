"""Floor 4: which replicas a configuration serves now, and what is left to do for them; only reads the store."""

from collections.abc import Collection, Iterator

from sqlalchemy import Connection

from syncd.config.accounts import ImapConfig
from syncd.config.model import Config, DeviceConfig
from syncd.mail.mailbox import is_selected
from syncd.reconcile.effects import DeleteMailbox, MailboxEffect, MakeMailbox, RenameMailbox, RestoreMailbox
from syncd.reconcile.planner import NOTHING, Selection
from syncd.reconcile.removals import Verdict, verdict_of
from syncd.store.bodies.wanted_bodies import mailboxes_without_bodies, wanted_bodies
from syncd.store.due.carried_changes import mailboxes_with_changes
from syncd.store.files import found_files, found_waits, uploads
from syncd.store.files.added_files import added_files
from syncd.store.mailboxes import mailbox_changes, mailbox_removals
from syncd.store.mailboxes.mailbox_changes import ChangeKind, ChangeState, MailboxChange
from syncd.store.people.report import account_ids
from syncd.store.trees import accounts, devices
from syncd.store.trees.accounts import MailboxRow
from syncd.store.trees.devices import ReplicaRow
from syncd.store.trees.journal import UploadState
from syncd.sync.policies import Takers, selection_of
from syncd.values import Value


class ServedReplica(Value):
    """A mailbox that a device selects, with its replica, None until the device has made it; or one that it gives up.

    One that its server has no more is served until it is gone from the device as well.
    """

    account: str
    device: str
    mailbox: MailboxRow
    replica: ReplicaRow | None
    is_selected: bool = True

    @property
    def is_followed(self) -> bool:
        """Tell whether the device knows by now that it takes the mailbox, or does not."""
        of = self.replica
        return of is not None and self.is_selected is not (of.is_leaving or of.has_left)

    def selection(self, device: DeviceConfig, *, now: float) -> Selection:
        """Return what the device takes of the mailbox."""
        return selection_of(device, now=now) if self.is_selected else NOTHING


class Leftover(Value):
    """Name who has something left to do; two equal ones in a row say that nothing moved."""

    accounts: frozenset[str]
    devices: frozenset[str]
    positions: tuple[tuple[str, int, int], ...]
    """How far each device is behind, by mailbox."""

    def __bool__(self) -> bool:
        return bool(self.accounts or self.devices)


def served_replicas(conn: Connection, config: Config) -> Iterator[ServedReplica]:
    """Yield every mailbox of the configuration once for each device that selects it, or may have files of it still."""
    ids = account_ids(conn)
    names = devices.device_names(conn)
    known = {(names[row.device_id], row.mailbox_id): row for row in devices.replicas(conn)}
    taken = {device: config.accounts_of(device).keys() for device in config.devices}
    for account in config.accounts:
        rows = accounts.mailboxes(conn, account_id=ids[account]) if account in ids else ()
        left = accounts.left_mailboxes(conn, account_id=ids[account]) if account in ids else ()
        for device, settings in config.devices.items():
            is_of_device = account in taken[device]
            for row in rows:
                replica = known.get((device, row.id))
                if is_of_device and row.is_synced and is_selected(row.name, settings.mailboxes):
                    yield ServedReplica(account, device, row, replica)
                elif row.is_selectable and replica is not None and not replica.has_left:
                    yield ServedReplica(account, device, row, replica, is_selected=False)
            for row in left:
                of = known.get((device, row.id))
                if of is not None and not of.has_left:
                    is_taken = is_of_device and row.is_selected and is_selected(row.name, settings.mailboxes)
                    yield ServedReplica(account, device, row, of, is_selected=is_taken)


def leftover(
    conn: Connection, config: Config, *, of_accounts: Collection[str], of_devices: Collection[str], now: float
) -> Leftover:
    """Return what these accounts and devices have left to do, as far as the store knows."""
    takers, wanted = Takers(config), {*of_accounts}
    mine = {name: id_ for name, id_ in account_ids(conn).items() if name in wanted}
    busy_accounts = {
        name
        for name, id_ in mine.items()
        if _wants_bodies(conn, takers, name, account_id=id_, now=now)
        or _brings(conn, takers, name, account_id=id_, now=now)
        or mailboxes_with_changes(conn, account_id=id_, now=now)
        or found_waits.wait_for_reading(conn, account_id=id_)
    }
    ids = {name: id_ for id_, name in devices.device_names(conn).items()}
    writing = {name for name, device in config.devices.items() if not device.read_only}
    busy_devices = {name for name in writing.intersection(of_devices) if name in ids and _takes_in(conn, ids[name])}
    changes = mailbox_changes.mailbox_changes(conn)
    returned = {one.device_id for one in changes if one.state is ChangeState.RETURNED}
    changed = {one.account_id for one in changes}
    busy_accounts |= {
        name
        for name, id_ in mine.items()
        if id_ in changed
        and any(one.state is not ChangeState.RETURNED for one, _ in due_changes(conn, config, name, now=now))
    }
    busy_devices |= {name for name in of_devices if ids.get(name) in returned}
    removed = {(one.device_id, one.mailbox_id) for one in changes if one.is_removal}
    positions: list[tuple[str, int, int]] = []
    found = found_files.with_found(conn)
    for served in served_replicas(conn, config):
        if served.account not in wanted or served.device not in of_devices:
            continue
        replica = served.replica
        is_removed = (ids.get(served.device), served.mailbox.id) in removed  # no directory for what the server has
        if not is_removed and (
            replica is None
            or not served.is_followed
            or replica.has_server_news
            or _is_unsettled(conn, config, served, found, now=now)
        ):
            busy_devices.add(served.device)
            positions.append((served.device, served.mailbox.id, -1 if replica is None else replica.server_cursor))
        if replica is not None and served.mailbox.is_there and replica.has_replica_news:
            # NOTE: what a device did that may only read, it undoes by itself.
            is_heard = served.device in writing
            (busy_accounts if is_heard else busy_devices).add(served.account if is_heard else served.device)
            positions.append((served.account, served.mailbox.id, replica.replica_cursor))
    return Leftover(frozenset(busy_accounts), frozenset(busy_devices), tuple(positions))


def due_changes(
    conn: Connection, config: Config, account: str, *, now: float
) -> Iterator[tuple[MailboxChange, MailboxEffect]]:
    """Yield what is to be done for the directories that came and went on devices, but for what waits."""
    account_id, settings = account_ids(conn).get(account), config.accounts[account]
    if account_id is None:
        return
    patterns = settings.mailboxes if isinstance(settings, ImapConfig) else ("*",)
    takers = Takers(config)
    for one in mailbox_changes.mailbox_changes(conn, account_id=account_id):
        if one.due_at > now:
            continue
        if one.mailbox_id is None:
            if is_selected(one.name, patterns):
                yield one, MakeMailbox()
        elif one.kind is ChangeKind.RENAME:
            if is_selected(one.name, patterns):
                yield one, RenameMailbox(one.mailbox_id)
        elif one.state is ChangeState.RETURNED:
            yield one, RestoreMailbox(one.mailbox_id)
        else:
            left = mailbox_removals.remainder(conn, one, devices=takers.devices_with(account, one.name))
            match verdict_of(left):
                case Verdict.RETURN:
                    yield one, RestoreMailbox(one.mailbox_id)
                case Verdict.DELETE:
                    yield one, DeleteMailbox(one.mailbox_id)
                case Verdict.WAIT:
                    continue


def _is_unsettled(
    conn: Connection, config: Config, served: ServedReplica, found: Collection[int], *, now: float
) -> bool:
    """Tell whether a device has to look at files that were there before us; found: the replicas that have such."""
    of = served.replica
    if of is None or of.listed_at is None:
        return True
    if of.id not in found:
        return False
    selection = served.selection(config.devices[served.device], now=now)
    return found_files.is_match_due(conn, of, selection=selection, now=now)


def _brings(conn: Connection, takers: Takers, account: str, *, account_id: int, now: float) -> bool:
    if not uploads.are_any(conn, account_id=account_id):
        return False
    of = takers.bringable(conn, account=account, account_id=account_id).of
    if uploads.is_busy(conn, account_id=account_id, of=of, now=now):
        return True
    left = [row.id for row in accounts.left_mailboxes(conn, account_id=account_id) if row.is_selected]
    lost = uploads.uploads(conn, account_id=account_id, mailbox_ids=left) if left else ()
    return any(one.state is UploadState.BEGUN or one.due_at <= now for one in lost)


def _takes_in(conn: Connection, device_id: int) -> bool:
    return any(file.size_bytes or file.message_id is not None for file in added_files(conn, device_id))


def _wants_bodies(conn: Connection, takers: Takers, account: str, *, account_id: int, now: float) -> bool:
    lacking = mailboxes_without_bodies(conn, account_id=account_id)
    return bool(lacking) and any(
        wanted_bodies(
            conn,
            mailbox_id=row.id,
            uidvalidity=row.cursor.uidvalidity,
            selections=takers.selections(
                account, row.name, now=now, without=devices.without_part(conn, mailbox_id=row.id)
            ),
            limit=1,
            now=now,
        )
        for row in accounts.mailboxes(conn, account_id=account_id)
        if row.id in lacking and row.is_synced and row.is_listed
    )
