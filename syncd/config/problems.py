"""Floor 2: what is wrong with a configuration, and where: values that a person can act on, and that hold no secret."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_BRIEF_CHARS = 240
_END_CHARS = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """Name one thing that is wrong: where (a file and line, or a variable), at which key, and what.

    Key and text quote keys and names of accounts, never values.
    """

    where: str
    key: str
    text: str

    def __str__(self) -> str:
        return printable(": ".join(part for part in (self.where, self.key, self.text) if part))


class ConfigError(ValueError):
    """The configuration cannot be used; every reason is in `problems`."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def unreadable(file: Path, error: OSError) -> ConfigError:
    """Return the error of a configuration that cannot be read."""
    return ConfigError((Problem(str(file), "", f"cannot be read: {error.strerror or 'unknown'}"),))


def dotted(path: Iterable[str]) -> str:
    """Return a key as it would be written in the file."""
    return ".".join(part if part.replace("-", "").replace("_", "").isalnum() else f'"{part}"' for part in path)


def did_you_mean(given: str, known: Iterable[str], *, likeness: float = 0.6) -> str:
    """Return ` (did you mean "x"?)` for the known name nearest to a given one, or nothing.

    likeness: how near it has to be, from 0 to 1.
    """
    from difflib import get_close_matches  # noqa: PLC0415  # which only what is misspelled needs

    near = get_close_matches(given.lower(), tuple(known), n=1, cutoff=likeness)
    return f' (did you mean "{near[0]}"?)' if near else ""


def printable(text: str) -> str:
    """Return text without characters that move a terminal's cursor or forge a line."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def brief(text: str) -> str:
    """Return text without its middle where it is longer than anybody reads: names of servers may have any length."""
    return text if len(text) <= _BRIEF_CHARS else f"{text[: _BRIEF_CHARS - _END_CHARS]}…{text[-_END_CHARS:]}"
