"""Floor 2: where each key of a TOML text is: tomllib and pydantic do not tell.

Theory: the text has been parsed by tomllib before, so it is valid, and a scan that knows only comments, strings and
brackets finds each `key =` and each `[table]`. Dotted and quoted keys and inline tables included; what is inside an
array has the line of the array's key.
"""

import re
import tomllib
from collections.abc import Mapping

from syncd.values import Value, field

Path = tuple[str, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)+")
_SPACE = re.compile(r"[ \t]+")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*'""")
_STRING = re.compile(
    r'"{3}(?:\\.|(?!"{3}).)*"{3,5}' r"|'{3}(?:(?!'{3}).)*'{3,5}" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE = re.compile(r"[^\s,\[\]{}#\"'=]+")


class KeyPlaces(Value):
    """Know where each key of a configuration is from: a line of its file, or what stands in `origins` instead."""

    file: str
    lines: Mapping[Path, int]
    origins: dict[Path, str] = field(default_factory=dict)

    def where(self, path: Path) -> str:
        """Return the file and line, or the variable, of a key, else of what is around it or in it."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.origins:
                return self.origins[path[:end]]
            if path[:end] in self.lines:
                return f"{self.file}:{self.lines[path[:end]]}"
            for key, origin in self.origins.items():
                if key[:end] == path[:end]:
                    return origin
        return self.file

    def line(self, path: Path) -> int | None:
        """Return the line of a key, or of what is around it; None where it is not of the file."""
        number = self.where(path).removeprefix(f"{self.file}:")
        return int(number) if number.isdecimal() else None


def key_lines(text: str) -> Mapping[Path, int]:
    """Return the line, counted from 1, of each key and table of a valid TOML text."""
    scan = _Scan(text.replace("\r\n", "\n"))
    scan.document()
    return scan.lines


class _Scan:
    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._line = 1

    def document(self) -> None:
        table: Path = ()
        self._take(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                self._step("[")
                self._step("[")
                table = self._key(())
                self._step("]")
                self._step("]")
            else:
                self._pair(table)
            self._take(_BLANK)

    def _pair(self, table: Path) -> None:
        path = self._key(table)
        self._step("=")
        self._value(path)

    def _key(self, table: Path) -> Path:
        path = table
        while True:
            self._take(_SPACE)
            path = (*path, _unquoted(self._take(_KEY)))
            self.lines.setdefault(path, self._line)
            self._take(_SPACE)
            if not self._step("."):
                return path

    def _value(self, path: Path) -> None:
        self._take(_BLANK)
        match self._text[self._at]:
            case "{":
                self._inside("{", "}", path)
            case "[":
                self._inside("[", "]", path)
            case '"' | "'":
                self._take(_STRING)
            case _:
                self._take(_BARE)
                # NOTE: a date and a time may be joined by a space: 1979-05-27 07:32:00.
                if self._text[self._at : self._at + 1] == " " and self._text[self._at + 1 : self._at + 2].isdigit():
                    self._step(" ")
                    self._take(_BARE)

    def _inside(self, opening: str, closing: str, path: Path) -> None:
        self._step(opening)
        self._take(_BLANK)
        while not self._step(closing):
            if opening == "{":
                self._pair(path)
            else:
                self._value(path)
            self._take(_BLANK)
            self._step(",")
            self._take(_BLANK)

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        taken = found[0] if found else ""
        self._at += len(taken)
        self._line += taken.count("\n")
        return taken

    def _step(self, char: str) -> bool:
        here = self._text[self._at : self._at + 1] == char
        self._at += here
        return here


def _unquoted(key: str) -> str:
    if key[:1] in ("'", '"'):
        (name,) = tomllib.loads(f"{key} = 0")
        return name
    return key
