"""Floor 6: how all commands speak to a person; nothing is loaded for it that reads command lines."""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, TextIO, TypeVar

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")


def say(text: str) -> None:
    """Print a line, with what could move the cursor or forge another line escaped."""
    _print(text, sys.stdout)


def complain(text: str) -> None:
    """Print a line to standard error, escaped like `say`."""
    _print(text, sys.stderr)


def say_json(adapter: "TypeAdapter[T]", value: T, *, indent: int | None = 2) -> None:
    """Print a value as JSON in ASCII, as a program reads it; indent None: on one line."""
    from syncd.daemon.people.answers_json import encoded

    sys.stdout.write(f"{encoded(adapter, value, indent=indent, ensure_ascii=True).decode()}\n")
    sys.stdout.flush()


def patience(doing: str) -> AbstractContextManager[object]:
    """Say, to a person who waits, what may take some seconds."""
    if not sys.stderr.isatty():
        return nullcontext()

    from rich.console import Console

    return Console(stderr=True).status(doing)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines in which each column has the width of its widest cell."""
    widths = [max(map(_places, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell + " " * (width - _places(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _places(text: str) -> int:
    """Return how many places of a terminal a text takes."""
    if text.isascii():
        return len(text)

    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in {"F", "W"} else 1 for char in text)


def _print(text: str, stream: TextIO) -> None:
    from syncd.config.problems import printable

    stream.write(f"{printable(text)}\n")
    stream.flush()
