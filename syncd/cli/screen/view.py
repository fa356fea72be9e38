"""Floor 6: a picture on a terminal, as wide as it is and, where it is shown live, as high; elsewhere as plain lines."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.text import Text

from syncd.cli.screen.fit import OF_A_SECTION, fit
from syncd.cli.screen.picture import DIM, STRONG, Block, Line, Picture, Section
from syncd.cli.screen.words import count
from syncd.values import replace

if TYPE_CHECKING:
    from rich.live import Live

_PLAIN_WIDTH = 10_000
_NAME_CHARS = 24
_LEAST_CHARS = 20
_GAP = 2
_HEAD_SHARE = 0.5
_FEW_LINES = 3


def a_console() -> Console:
    """Return standard output as it is; where it is no terminal no line is broken, unless $COLUMNS says how wide."""
    console = Console(highlight=False, emoji=False, markup=False)
    if console.is_terminal or os.environ.get("COLUMNS", "").isdigit():
        return console
    return Console(highlight=False, emoji=False, markup=False, width=_PLAIN_WIDTH)


def show(picture: Picture, console: Console) -> None:
    """Print a whole picture, however high the terminal is: a person scrolls."""
    for line in whole(picture, console):
        console.print(line, soft_wrap=True)


class Screen:
    """Show pictures one after the other in the same place, each as much of it as there is room for."""

    def __init__(self, console: Console, live: "Live") -> None:
        self._console = console
        self._live = live

    def show(self, picture: Picture) -> None:
        """Put a picture in the place of the one before, with nothing empty in between."""
        self._live.update(Group(*fitted(picture, self._console, height=self._console.height)), refresh=True)


@contextmanager
def live_screen(console: Console) -> Iterator[Screen]:
    """Have the terminal to oneself while inside; what was on it comes back afterwards."""
    from rich.live import Live

    with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        yield Screen(console, live)


def whole(picture: Picture, console: Console) -> list[Text]:
    """Return the lines of a picture; on a terminal, of a section with a limit of so many blocks."""
    lines = _head(picture, console, len(picture.findings))
    for section in picture.sections:
        limit = section.limit if console.is_terminal else None
        lines += _section(section, console, limit or len(section.blocks))
    return lines + _foot(picture, console)


def fitted(picture: Picture, console: Console, *, height: int) -> list[Text]:
    """Return as much of a picture as so many lines hold, and in words what is left out of it."""
    lines = whole(picture, console)
    if len(lines) <= height:
        return lines
    picture = _lean(picture)
    foot = _foot(picture, console)
    findings = len(picture.findings)
    while findings > 1 and len(_head(picture, console, findings)) > max(height * _HEAD_SHARE, _FEW_LINES):
        findings -= 1
    head = _head(picture, console, findings)
    room = height - len(head) - len(foot)
    sections = [_worst_first(one) for one in picture.sections[: max(room // (OF_A_SECTION + 1), 0)]]
    heights = [[len(_block(one, console, 0)) for one in section.blocks[: section.limit]] for section in sections]
    for section, number in zip(sections, fit(heights, room), strict=True):
        head += _section(section, console, number)
    return (head + foot)[:height]


def _lean(picture: Picture) -> Picture:
    """Return a picture without the details of who is well."""
    sections = tuple(replace(one, blocks=tuple(map(_lean_block, one.blocks))) for one in picture.sections)
    return replace(picture, sections=sections, foot=tuple(line for line in picture.foot if not line.is_detail))


def _lean_block(block: Block) -> Block:
    return replace(block, lines=tuple(line for line in block.lines if not (line.is_detail and block.is_well)))


def _worst_first(section: Section) -> Section:
    """Return a section of which the end is missed least."""
    return replace(section, blocks=tuple(sorted(section.blocks, key=lambda one: one.is_well)))


def _head(picture: Picture, console: Console, findings: int) -> list[Text]:
    lines = _wrapped(picture.head, console)
    for one in picture.findings[:findings]:
        lines += _wrapped(one, console)
    if left := len(picture.findings) - findings:
        lines.append(Text(f"  and {count(left, 'thing')} more", style=STRONG))
    return lines


def _foot(picture: Picture, console: Console) -> list[Text]:
    return [Text(), *_wrapped(picture.foot, console)] if picture.foot else []


def _section(section: Section, console: Console, number: int) -> list[Text]:
    lines = [Text(), Text(section.title.upper(), style=STRONG)]
    blocks, left = section.blocks[:number], section.blocks[number:]
    width = min(max((len(one.name) for one in blocks), default=0), _NAME_CHARS) + _GAP
    for block in blocks:
        lines += _block(block, console, width)
    if left:
        well = ", all well" if section.are_well_or_not and all(one.is_well for one in left) else ""
        lines.append(Text(f"and {count(len(left), section.noun, section.plural)} more{well}", style=DIM))
    return lines


def _block(block: Block, console: Console, width: int) -> list[Text]:
    width = width or _NAME_CHARS + _GAP
    lines = _wrapped(block.lines, console, at=width)
    name = block.name if len(block.name) <= width - _GAP else f"{block.name[: width - _GAP - 1]}…"
    lines[0] = Text.assemble((name.ljust(width), STRONG), lines[0][width:])
    return lines


def _wrapped(lines: Iterable[Line], console: Console, *, at: int = 0) -> list[Text]:
    """Return lines that are as wide as the console at most, each begun at this column."""
    found = []
    for line in lines:
        margin = at + line.indent
        width = max(console.width - margin, _LEAST_CHARS)
        for piece in Text(line.text, style=line.style).wrap(console, width, overflow="fold"):
            piece.rstrip()
            found.append(Text.assemble(" " * margin, piece))
    return found
