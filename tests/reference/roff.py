"""Pages of the manual in the macros of man(7): text with what is typed in backticks, safe from what roff would eat."""

import re
import textwrap
from collections.abc import Iterable

_SPECIAL = {
    "\u00a0": r"\ ",
    "\\": r"\e",
    "-": r"\-",
    "'": r"\(aq",
    "`": r"\(ga",
    "^": r"\(ha",
    "~": r"\(ti",
    '"': r"\(dq",
}
_WIDTH = 78


def page(name: str, section: int, *, of: str, version: str, body: Iterable[str]) -> str:
    """Return a page; body: what the other functions return, of: the part of the manual."""
    text = re.sub(r"^(\.S[HS] .*\n)\.PP\n", r"\1", "".join(body), flags=re.MULTILINE)
    head = f'.TH {name.upper()} {section} "" "syncd {version}" "{of}"\n'
    head = f'.\\" Made by "make reference" of what the code says.\n{head}'
    return f"{head}.nh\n.ad l\n.ss 12 0\n{text}"


def section(name: str) -> str:
    """Return the heading of a section."""
    return f".SH {escaped(name)}\n"


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f".PP\n{_filled(text)}"


def item(tag: str, *texts: str) -> str:
    """Return a tag with the paragraphs that explain it."""
    return f".TP\n{marked(tag)}\n" + ".IP\n".join(_filled(text) for text in texts)


def example(text: str) -> str:
    """Return lines that stay as they are."""
    lines = "".join(f"{_protected(escaped(line))}\n" for line in text.strip("\n").split("\n"))
    return f".PP\n.RS 4\n.nf\n{lines}.fi\n.RE\n"


def indented(parts: Iterable[str]) -> str:
    """Return parts below a tag."""
    return f".RS\n{''.join(parts)}.RE\n"


def marked(text: str) -> str:
    """Return text for roff: `typed` is bold, *put something here* is italic."""
    pieces = re.split(r"(`[^`]*`|\*[A-Za-z][^*\s]*\*)", text)
    return "".join(_piece(piece) for piece in pieces)


def escaped(text: str) -> str:
    """Return text in which nothing means anything to roff."""
    return "".join(_SPECIAL.get(char, char) for char in text)


def _piece(piece: str) -> str:
    if piece.startswith("`") and len(piece) > 1:
        return rf"\fB{escaped(piece[1:-1])}\fR"
    if piece.startswith("*") and len(piece) > 2:
        return rf"\fI{escaped(piece[1:-1])}\fR"
    return escaped(piece)


def _filled(text: str) -> str:
    lines = textwrap.wrap(marked(text), _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "".join(f"{_protected(line)}\n" for line in lines)


def _protected(line: str) -> str:
    return rf"\&{line}" if line.startswith((".", "'")) else line
