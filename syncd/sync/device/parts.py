"""Floor 4: what the task of one device is made of, joined: what its looks and its rounds tell each other through."""

from collections.abc import Collection, Mapping
from pathlib import Path

from syncd.maildir.news.last_look import LastLook
from syncd.sync.device.attachment import Attachment
from syncd.sync.device.directory_changes import DirectoryChanges
from syncd.sync.device.files import DeviceFiles
from syncd.sync.device.intake import Intake
from syncd.sync.device.mailboxes import DeviceMailboxes
from syncd.sync.device.second_look import SecondLook
from syncd.sync.device.served_device import ServedDevice
from syncd.sync.device.standstill import Standstill
from syncd.sync.recent_bodies import RecentBodies
from syncd.values import Value


class DeviceParts(Value):
    """Hold the parts of one device, each of which keeps one thing in memory; `join` makes them."""

    attachment: Attachment
    files: DeviceFiles
    mailboxes: DeviceMailboxes
    directories: DirectoryChanges
    intake: Intake
    second_look: SecondLook
    still: Standstill
    last_look: LastLook


def join(
    device: ServedDevice,
    *,
    configured: Collection[str],
    account_ids: Mapping[str, int],
    recent: RecentBodies,
    spool_directory: Path,
) -> DeviceParts:
    """Return the parts of a device; take the accounts that are configured, and the ids of those that are served."""
    db, config, clock = device.db, device.config, device.clock
    attachment = Attachment(db, device.name, config, accounts=configured, clock=clock)
    prover = attachment.prover
    files = DeviceFiles(
        db,
        config,
        marker=attachment.marker,
        prover=prover,
        file_systems=device.file_systems,
        recent=recent,
        odd_files=device.activity.odd_files,
        clock=clock,
    )
    mailboxes = DeviceMailboxes(db, config, account_ids=account_ids, prover=prover, learn=attachment.learn, clock=clock)
    directories = DirectoryChanges(
        db,
        config,
        mailboxes,
        account_ids={account: account_ids[account] for account in mailboxes.accounts},
        prover=prover,
        activity=device.activity,
        clock=clock,
        rule=device.rule,
    )
    intake = Intake(
        db,
        config.path,
        settle_s=config.settle_s,
        spool_directory=spool_directory,
        keywords=files.keywords.of,
        prover=prover,
        wakes=device.wakes,
        clock=clock,
    )
    second_look = SecondLook(
        db,
        config.path,
        files,
        settle_s=config.settle_s,
        is_read_only=config.read_only,
        prover=prover,
        clock=clock,
        directories=directories,
    )
    return DeviceParts(
        attachment,
        files,
        mailboxes,
        directories,
        intake,
        second_look,
        still=Standstill(device.name),
        last_look=LastLook(config.path),
    )
