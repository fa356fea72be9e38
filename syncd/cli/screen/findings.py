"""Floor 6: what `syncd doctor` shows: for each finding where it is, what it is and what to do; escaped everywhere."""

from collections import Counter

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from syncd.cli.screen.words import count
from syncd.config.problems import printable
from syncd.daemon.doctor.findings import Diagnosis, Finding, Level

_STYLES = {Level.OK: "green", Level.NOTE: "cyan", Level.WARNING: "yellow", Level.ERROR: "bold red"}
_INDENT = 9


def show(found: Diagnosis, *, shows_all: bool, console: Console | None = None) -> None:
    """Print the findings, those that are well only if wanted, and how many there are of each kind.

    In a terminal it is coloured and broken into lines as they fit, elsewhere what is told is a line, however long.
    """
    output = console or Console(highlight=False, emoji=False)
    for one in found.findings:
        if shows_all or one.level is not Level.OK:
            _show_one(output, one)
    output.print(Text(summary(found), style=_STYLES[found.worst]), soft_wrap=True)


def summary(found: Diagnosis) -> str:
    """Return in one line how many findings there are, and what was not looked at."""
    counts = Counter(one.level for one in found.findings)
    told = [count(counts[level], level.name.lower()) for level in (Level.ERROR, Level.WARNING, Level.NOTE)]
    line = f"{', '.join(told)}; {count(counts[Level.OK], 'check')} well"
    if not found.is_usable:
        return f"{line}; without a configuration that can be used, most was not looked at"
    return f"{line}; the servers were not asked" if found.is_offline else line


def _where(one: Finding) -> str:
    key, colon, rest = one.where.partition(":")
    return one.where if one.line is None else f"{key} (line {one.line}){colon}{rest}"


def _show_one(output: Console, one: Finding) -> None:
    head = Text(f"{one.level.name.lower():<{_INDENT}}", style=_STYLES[one.level])
    where, what, remedy = Text(printable(_where(one)), style="bold"), printable(one.what), printable(one.remedy)
    if not output.is_terminal:
        output.print(head + where + Text(f": {what}"), soft_wrap=True)
        if remedy:
            output.print(Text(f"{'':{_INDENT}}> {remedy}"), soft_wrap=True)
        return
    output.print(head + where)
    output.print(Padding(Text(what), (0, 0, 0, _INDENT)))
    if remedy:
        output.print(Padding(Text(f"> {remedy}", style="italic"), (0, 0, 0, _INDENT)))
