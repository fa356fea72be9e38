"""Floor 1: whose a file is, and how whoever is another user does what only that one may."""

import os
from pathlib import Path


def of_another(path: Path) -> str:
    """Return what ends the text of an error at a path that is another user's: whose, and what to do; else nothing.

    Of one that cannot be looked at, it is whose directory keeps us from that.
    """
    uid = owner_of(path)
    if uid is None or uid == os.geteuid():
        return ""
    name, option = _called(uid)
    return f"; it belongs to {name}: sudo{option} syncd ..."


def owner_of(path: Path) -> int | None:
    """Return whose a path is, or the innermost directory around it that can be looked at; None: nobody can tell."""
    for place in (path, *path.parents):
        try:
            return place.stat().st_uid
        except OSError:
            continue
    return None


def _called(uid: int) -> tuple[str, str]:
    """Return how a user is called, and what sudo is told to be that one."""
    import pwd  # noqa: PLC0415  # where nothing is wrong nobody is to be named

    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}", f" -u '#{uid}'"
    return name, "" if uid == 0 else f" -u {name}"
