"""Floor 5: what the doctor found: a level, what it is about, where, what, and what to do about it.

House rule: `check` is for programs and keeps its meaning; docs/commands.md names each. Texts are for people.
"""

from collections.abc import Iterable
from enum import IntEnum

from syncd.values import Value


class Level(IntEnum):
    """Say how bad it is: all is well, worth knowing, will be trouble or is where nobody looks, or mail stands still."""

    OK = 0
    NOTE = 1
    WARNING = 2
    ERROR = 3


class Finding(Value):
    """Tell one thing that was looked at. remedy: what to do, with the command or key; empty where nothing is.

    line: of the key by which `where` begins, in the file of the configuration; None where it does not, or is elsewhere.
    """

    level: Level
    check: str
    where: str
    what: str
    remedy: str = ""
    line: int | None = None


def ok(check: str, where: str, what: str) -> Finding:
    """Tell that all is well."""
    return Finding(Level.OK, check, where, what)


def note(check: str, where: str, what: str, remedy: str = "") -> Finding:
    """Tell what is worth knowing."""
    return Finding(Level.NOTE, check, where, what, remedy)


def warning(check: str, where: str, what: str, remedy: str) -> Finding:
    """Tell what will be trouble, or is trouble that does not stop mail."""
    return Finding(Level.WARNING, check, where, what, remedy)


def error(check: str, where: str, what: str, remedy: str) -> Finding:
    """Tell what stops syncd, an account or a device, or opens it to others."""
    return Finding(Level.ERROR, check, where, what, remedy)


class Diagnosis(Value):
    """Hold all findings. is_usable: whether the configuration is; else only what needs none was looked at."""

    at: float
    config: str
    is_usable: bool
    is_offline: bool
    findings: tuple[Finding, ...]

    @property
    def worst(self) -> Level:
        return max((one.level for one in self.findings), default=Level.OK)


def diagnosis(findings: Iterable[Finding], *, at: float, config: str, is_usable: bool, is_offline: bool) -> Diagnosis:
    """Return the findings, the worst last and otherwise as they come: that is where a person looks."""
    return Diagnosis(at, config, is_usable, is_offline, tuple(sorted(findings, key=lambda one: one.level)))
