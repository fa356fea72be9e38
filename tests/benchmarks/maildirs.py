"""What Maildirs hold, to be compared with what the server was given."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.benchmarks.corpus import Held, digest

_FLAGS = frozenset("SRFTD")


def mail_files(root: Path) -> Iterator[Path]:
    """Yield the messages of all Maildirs below a directory."""
    return (file for kind in ("cur", "new") for file in root.rglob(f"{kind}/*") if not file.name.startswith("."))


def flag_letters(name: str) -> str:
    """Return the standard flags that a file's name gives."""
    return "".join(sorted(_FLAGS.intersection(name.rpartition(":2,")[2] if ":2," in name else "")))


def held_by(root: Path) -> Held:
    """Return every message below a directory, with its flags."""
    return Counter((digest(file.read_bytes()), flag_letters(file.name)) for file in mail_files(root))


def check(name: str, roots: Iterable[Path], expected: Held, *, with_flags: bool = True) -> None:
    """Compare message by message; RuntimeError unless each of the trees has exactly what it should have."""
    wanted = expected if with_flags else _without_flags(expected)
    for root in roots:
        found = held_by(root) if with_flags else _without_flags(held_by(root))
        if found != wanted:
            missing, extra = (wanted - found).total(), (found - wanted).total()
            raise RuntimeError(f"{name}: {root.name} lacks {missing} messages and has {extra} others")


def check_count(name: str, roots: Iterable[Path], expected: int) -> None:
    """Count messages, where a program changes what it delivers; RuntimeError unless each tree has so many."""
    for root in roots:
        if (found := sum(1 for _ in mail_files(root))) != expected:
            raise RuntimeError(f"{name}: {root.name} has {found} messages, not {expected}")


def _without_flags(held: Held) -> Held:
    counted: Held = Counter()
    for (known, _), count in held.items():
        counted[known, ""] += count
    return counted
