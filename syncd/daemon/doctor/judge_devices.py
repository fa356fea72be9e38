"""Floor 5: judge the directories of devices: their file systems, what they share, how their changes are heard of."""

import stat
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from shlex import quote

from syncd.daemon.doctor.facts import DeviceFacts, Kind, Limits, User
from syncd.daemon.doctor.findings import Finding, error, note, ok, warning
from syncd.daemon.doctor.judge_files import unwritable

_WITHOUT_COLONS = frozenset({"exfat", "msdos", "vfat"})
"""What takes no `:` in names, which those of a Maildir have."""
_WATCHES_SHARE = 0.8
_SHOWN = 5
_OURS = 1
"""The one watch that follows the configuration."""
_BASE_DESCRIPTORS = 64
_DESCRIPTORS_EACH = 4


def judge_device(device: DeviceFacts, user: User) -> Iterator[Finding]:
    """Judge the directory of one device."""
    place, where = device.place, f"devices.{device.name}"
    named = f"{where}: {place.path}"
    if place.kind is Kind.MISSING and device.is_known:
        what = "it is not there any more, so that the device is away and its mail is left alone"
        remedy = f"mount or bring back {place.path}; or name its new place as path of {where}"
        yield error("device_missing", named, what, remedy)
        return
    if not place.may_write:
        yield from unwritable("device_rights", named, place, user)
        return
    if place.kind is Kind.MISSING:
        yield ok("device_rights", named, "it is not there yet, and is made at the first sync")
    elif stat.S_IMODE(place.mode) & 0o022 and not place.mode & stat.S_ISVTX:
        yield warning("device_rights", named, "others can write in it", f"chmod go-w {quote(str(place.path))}")
    else:
        yield ok("device_rights", named, f"{user.name} can write in it")
    if device.is_known and place.kind is Kind.DIRECTORY and not device.is_marked:
        what = "there is no marker (.syncd) in it any more: it is unmounted, or was emptied, and its mail is left alone"
        remedy = f"mount what belongs there; or syncd adopt {device.name}, which goes on with what is there now"
        yield error("device_missing", named, what, remedy)
    elif not device.is_known and place.kind is Kind.DIRECTORY and device.is_used and not device.is_marked:
        what = "there are files in it and no marker (.syncd): it is not of syncd, and is left alone"
        remedy = (
            f"syncd adopt {device.name}, which goes on with what is there; or an empty directory as path of {where}"
        )
        yield error("device_foreign", named, what, remedy)
    if device.strays:
        remedy = f"set layout of {where} as the files are, or put them where its mailboxes are"
        yield warning("device_strays", named, device.strays, remedy)
    for one in device.misnamed[:_SHOWN]:
        what = f"{one.directory} is left alone: {one.why}"
        yield warning("device_strays", named, what, one.remedy)
    if (more := len(device.misnamed) - _SHOWN) > 0:
        remedy = "syncd status lists a hundred of them, while the daemon runs"
        yield warning("device_strays", named, f"{more:,} more directories are left alone for their names", remedy)
    if device.former:
        remedy = "configure the account again; or give up what the store has of it (syncd purge), and remove them"
        yield note("device_strays", named, device.former, remedy)
    yield from _file_system(device, named)


def _file_system(device: DeviceFacts, named: str) -> Iterator[Finding]:
    system = device.place.file_system
    if system is None:
        return
    check, another = "device_file_system", "another file system for it (ext4, xfs, btrfs, zfs)"
    if system.kind in _WITHOUT_COLONS:
        yield error(check, named, f"{system.kind} takes no names with a colon, as those of read messages have", another)
    elif system.is_case_blind:
        what = f"it takes names that differ in case for one ({system.kind}): of two such mailboxes one fails"
        yield warning(check, named, what, another)
    elif not system.tells and device.is_watching:
        what = f"it is on {system.kind}, where changes are looked for every two seconds: nobody tells of them"
        yield note(check, named, what, f'watch = "poll" for devices.{device.name} says so')
    else:
        yield ok(check, named, f"it is on {system.kind}")


def judge_links(devices: Sequence[DeviceFacts]) -> Iterator[Finding]:
    """Judge which devices hold one copy of a message together."""
    linking = [one for one in devices if one.is_linking and one.place.file_system is not None]
    if len(linking) < 2:
        return

    def identity(one: DeviceFacts) -> tuple[int, int]:
        return one.place.file_system.identity if one.place.file_system else (0, 0)

    groups = [list(group) for _, group in groupby(sorted(linking, key=identity), key=identity)]
    names = "; ".join(", ".join(sorted(one.name for one in group)) for group in groups)
    if len(groups) == 1:
        yield ok("hard_links", names, "these devices hold one copy of each message together")
    else:
        what = "devices on different mounts hold a copy of each message each"
        yield note("hard_links", names, what, "paths on one mount, where the disk is to hold each message once")


def judge_watches(devices: Iterable[DeviceFacts], limits: Limits) -> Iterator[Finding]:
    """Judge whether inotify has enough for all directories of mailboxes."""
    watching = [
        one for one in devices if one.is_watching and (one.place.file_system is None or one.place.file_system.tells)
    ]
    needs = (
        ("max_user_watches", limits.watches, limits.watches_used, sum(one.directories for one in watching) + _OURS),
        ("max_user_instances", limits.instances, limits.instances_used, len(watching) + _OURS),
    )
    for name, limit, used, need in needs:
        if limit is None:
            continue
        key = f"fs.inotify.{name}"
        what = f"{need:,} of {limit:,} are needed, and other programs of this user have {used:,}"
        more = max(2 * (need + used), limit)
        file = f"/etc/sysctl.d/60-{name.replace('_', '-')}.conf"
        remedy = f"echo {key}={more} | sudo tee {file}, and sudo sysctl --system"
        if need + used > limit:
            yield warning("inotify", key, f"{what}: changes on devices are looked for instead of heard of", remedy)
        elif need + used > limit * _WATCHES_SHARE:
            yield note("inotify", key, what, remedy)
        else:
            yield ok("inotify", key, what)


def judge_descriptors(limits: Limits, *, accounts: int, devices: int) -> Iterator[Finding]:
    """Judge whether a process may have as many files and connections open as syncd needs."""
    if limits.descriptors is None:
        return
    need = _BASE_DESCRIPTORS + _DESCRIPTORS_EACH * (accounts + devices)
    what = f"about {need:,} of {limits.descriptors:,} files and connections are needed"
    if need > limits.descriptors:
        remedy = f"LimitNOFILE={2 * need} in the unit (systemctl edit syncd), or ulimit -n {2 * need}"
        yield error("descriptors", "RLIMIT_NOFILE", what, remedy)
    else:
        yield ok("descriptors", "RLIMIT_NOFILE", what)
