"""Floor 6: which of what is not well is the same of several, and how it is said of all of them at once; pure."""

from collections.abc import Sequence

from syncd.daemon.status.status import Finding, Status

_NAMES = 12
_NAMED = {
    "account_failing": "account",
    "device_failing": "device",
    "device_away": "device",
    "device_foreign": "device",
}


def groups_of(status: Status) -> Sequence[Sequence[Finding]]:
    """Return the findings by what is to be done: in one group only the names are others."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for one in status.findings:
        remedy = one.remedy or ""
        for own in (*_own_words(one, status), _sync(one)) if one.kind in _NAMED else ():
            remedy = remedy.replace(own, "")
        groups.setdefault((one.kind, one.text, remedy), []).append(one)
    return list(groups.values())


def whose(alike: Sequence[Finding]) -> str:
    """Name those of whom a group is, where its text does not."""
    if (kind := alike[0].kind) not in _NAMED:
        return ""
    names = [one.name for one in alike if one.name is not None]
    return f"{_NAMED[kind]}{'s' if len(names) > 1 else ''} {', '.join(names[:_NAMES])}{_more(alike)}: "


def remedy_of(alike: Sequence[Finding], status: Status) -> str:
    """Return the remedy of a group, for all in it."""
    first, few = alike[0], alike[:_NAMES]
    remedy = first.remedy or ""
    if len(alike) == 1:
        return remedy
    everybody = zip(*(_own_words(one, status) for one in few), strict=True)
    for own, those in zip(_own_words(first, status), everybody, strict=True):
        remedy = remedy.replace(own, f"{', '.join(those)}{_more(alike)}")
    return remedy.replace(_sync(first), _sync(*(few if len(few) == len(alike) else ())))


def _own_words(one: Finding, status: Status) -> tuple[str, ...]:
    """Return what a remedy says of this account or device alone."""
    if one.kind == "account_failing":
        return (f"[accounts.{one.name}]",)
    return tuple(each.path for each in status.devices if one.kind in _NAMED and each.name == one.name)


def _sync(*those: Finding) -> str:
    """Return the command that tries some again; without names it means all."""
    return " ".join(("syncd sync", *(one.name or "" for one in those)))


def _more(alike: Sequence[Finding]) -> str:
    return f" and {len(alike) - _NAMES} more" if len(alike) > _NAMES else ""
