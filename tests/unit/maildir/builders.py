"""Deliveries of small messages, and what a mailbox directory holds after them."""

from pathlib import Path, PurePosixPath

from syncd.mail.flags import NONE, Flags
from syncd.mail.message import facts_of, lf_pieces
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.effects.perform import (
    Deliver,
    Done,
    Effect,
    LinkSource,
    Outcome,
    perform,
)
from syncd.maildir.naming.keywords import EMPTY, KeywordMap
from syncd.maildir.naming.names import mint

INBOX = PurePosixPath(".work.INBOX")
DATE = 981_173_106
SEEN = frozenset({"\\Seen"})
MESSAGE = b"From: ana@example.org\r\nSubject: hello\r\n\r\nfirst\r\nsecond\r\n"


def delivery(
    body: bytes = MESSAGE,
    *,
    flags: Flags = NONE,
    name: str | None = None,
    directory: PurePosixPath = INBOX,
    link: LinkSource | None = None,
    is_repeated: bool = False,
    mtime: int = DATE,
) -> Deliver:
    facts = facts_of([body])
    octets = b"".join(lf_pieces([body])) if facts.is_crlf else body
    size = facts.lf_size_bytes if facts.is_crlf else facts.size_bytes
    return Deliver(
        directory=directory,
        name=name or mint(time_s=DATE, size_bytes=size, wire_size_bytes=len(body)),
        flags=flags,
        mtime=mtime,
        size_bytes=size,
        octets=lambda: (octets[at : at + 7] for at in range(0, len(octets), 7)),
        link=link,
        is_repeated=is_repeated,
    )


def run(root: ReplicaRoot, *effects: Effect, keywords: KeywordMap = EMPTY) -> tuple[Outcome, ...]:
    return perform(root, effects, keywords=lambda _: keywords)


def one(root: ReplicaRoot, effect: Effect, *, keywords: KeywordMap = EMPTY) -> Outcome:
    return run(root, effect, keywords=keywords)[0]


def done(outcome: Outcome) -> Done:
    assert isinstance(outcome, Done), outcome
    return outcome


def path_of(root: ReplicaRoot, outcome: Outcome, directory: PurePosixPath = INBOX) -> Path:
    file = done(outcome).file
    assert file is not None
    return root.path / directory / file.subdir / file.filename


def names_in(root: ReplicaRoot, directory: PurePosixPath = INBOX) -> dict[str, list[str]]:
    return {sub: sorted(path.name for path in (root.path / directory / sub).iterdir()) for sub in ("new", "cur", "tmp")}


def second_root(path: Path) -> ReplicaRoot:
    """Return another device's root below `path`, with an INBOX."""
    (path / "other").mkdir(parents=True, mode=0o700)
    other = ReplicaRoot(path / "other")
    other.create(INBOX).close()
    return other
