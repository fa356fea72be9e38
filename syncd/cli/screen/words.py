"""Floor 6: how amounts, times and progress are said to a person; pure."""

from typing import TYPE_CHECKING

from syncd.config.amounts import size
from syncd.config.problems import brief, printable

if TYPE_CHECKING:
    from syncd.daemon.status.status import Progress

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400
_AGES_S = 1000 * 365 * _DAY_S
"""Beyond that no calendar goes."""
_BAR_CHARS = 20
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def age(seconds: float) -> str:
    """Return a duration as a person says it, in its largest unit."""
    for unit_s, letter in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if round(seconds) >= unit_s:
            return f"{seconds / unit_s:.0f} {letter}"
    return f"{max(seconds, 0):.0f} s"


def ago(seconds: float | None) -> str:
    """Say how long ago something was."""
    return "never" if seconds is None else f"{age(seconds)} ago"


def when(seconds: float) -> str:
    """Say when something will be."""
    return "now" if round(seconds) <= 0 else f"in {age(seconds)}"


def stay(number: int, until_at: float | None, now: float) -> str:
    """Say how many messages a maildrop has of what is here, and until when."""
    stays = f"{number:,} {'stays' if number == 1 else 'stay'} on the server"
    if until_at is None or until_at - now > _AGES_S:
        return stays
    if until_at - now < _DAY_S:
        return f"{stays}; the oldest goes {when(until_at - now) if until_at > now else 'at the next poll'}"
    return f"{stays}, the oldest until {_day(until_at, now)}"


def _day(at: float, now: float) -> str:
    """Name a day as the calendar on the wall does, with its year where that is another one."""
    from datetime import datetime  # few need it

    then, today = (datetime.fromtimestamp(one) for one in (at, now))  # noqa: DTZ006
    year = "" if then.year == today.year else f" {then.year}"
    return f"{then.day} {_MONTHS[then.month - 1]}{year}"


def count(number: int, noun: str, plural: str = "") -> str:
    """Return a number of things, with a word for none."""
    return f"{f'{number:,}' if number else 'no'} {noun if number == 1 else plural or f'{noun}s'}"


def tls(version: str) -> str:
    """Return the name of a version of TLS as people write it."""
    return version.replace("TLSv", "TLS ")


def share(progress: "Progress") -> float:
    """Return how much of it is done, from 0 to 1: by size where sizes are counted, which is what takes time."""
    if progress.bytes_total > 0:
        return min(progress.bytes_done / progress.bytes_total, 1.0)
    return min(progress.messages_done / progress.messages_total, 1.0) if progress.messages_total else 1.0


def bar(progress: "Progress") -> str:
    """Draw how much of it is done."""
    filled = int(share(progress) * _BAR_CHARS)
    return f"[{'#' * filled}{'.' * (_BAR_CHARS - filled)}] {int(share(progress) * 100)} %"


def amounts(progress: "Progress") -> str:
    """Say what is done of what there is."""
    of_messages = f"{min(progress.messages_done, progress.messages_total):,} of {progress.messages_total:,} messages"
    if not progress.bytes_total:
        return of_messages
    return f"{of_messages}, {size(min(progress.bytes_done, progress.bytes_total))} of {size(progress.bytes_total)}"


def speed(progress: "Progress") -> str:
    """Say how fast it goes, and how long the rest takes."""
    if progress.messages_s == 0:
        return "nothing came lately"
    parts = []
    if progress.messages_s is not None:
        number = f"{progress.messages_s:,.0f}" if progress.messages_s >= 1 else f"{progress.messages_s:.1f}"
        parts.append(f"{number} messages/s")
    parts += [f"{size(progress.bytes_s)}/s"] if progress.bytes_s else []
    parts.append("time left not known yet" if progress.eta_s is None else f"{age(max(progress.eta_s, 1.0))} left")
    return ", ".join(parts)


def at_work(doing: str, progress: "Progress") -> str:
    """Say what is being done; who is idle before the end waits for others."""
    return "waiting for what is fetched" if doing == "idle" and not progress.is_done else shown(doing)


def shown(text: str) -> str:
    """Return a text that may be anybody's, so that a terminal can show it: nothing in it means anything there."""
    return brief(printable(text))
