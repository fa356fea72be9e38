"""Floor 6: `syncd history`: what changed, where it came from, what was done of it and what was held, newest last."""

import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.client import Client, decoded
from syncd.cli.configured import configuration, unknown
from syncd.cli.options import ConfigOption
from syncd.cli.plain import number
from syncd.cli.screen.words import count
from syncd.cli.stored import store_to_read
from syncd.cli.terminal import aligned, complain, say, say_json

if TYPE_CHECKING:
    from syncd.config.model import Config
    from syncd.daemon.people.answers import HistoryReport
    from syncd.store.people.entries import Entry, Question

_LIST = "list"
"""What is never told of one message by its number, though it may be of one."""
_WORDS = {"dele": "delete in the maildrop"}
_HEADS = ("time", "where", "mailbox", "message", "uid", "what", "wanted by", "outcome")

AccountOption = Annotated[str | None, typer.Option("--account", metavar="ACCOUNT", help="Of this account.")]
MailboxOption = Annotated[
    str | None, typer.Option("--mailbox", metavar="MAILBOX", help="Of this mailbox: INBOX, or work/INBOX.")
]
DeviceOption = Annotated[str | None, typer.Option("--device", metavar="DEVICE", help="Done there, or wanted by it.")]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="WHEN", help="Not before: 2h, 3d, 2026-11-25, 2026-11-25T08:30.")
]
MessageOption = Annotated[
    str | None,
    typer.Option("--message", metavar="ID", help="Of this message, also before it was moved: a number or Message-ID."),
]
LimitOption = Annotated[
    int,
    typer.Option("--limit", metavar="NUMBER", parser=number(1, 10_000), help="At most so many, of the newest."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")]


def history(
    *,
    account: AccountOption = None,
    mailbox: MailboxOption = None,
    device: DeviceOption = None,
    since: SinceOption = None,
    message: MessageOption = None,
    limit: LimitOption = 100,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what changed on servers and devices, who wanted it, and what was held or refused; newest last."""
    settings = configuration(config).config
    begin = None if since is None else begin_of(since, now=time.time())

    from syncd.store.people.entries import Question

    report = _report(settings, Question(account, mailbox, device, begin, message, limit))
    if not report.entries:
        _refuse_unknown("account", account, settings.accounts)
        _refuse_unknown("device", device, settings.devices)
        if report.unknown is not None:
            name = mailbox if report.unknown == "mailbox" else message
            raise typer.BadParameter(f"there is no {report.unknown} {name!r}, and was none as far as is remembered")
    if as_json:
        from syncd.daemon.people.answers_json import ENTRY_JSON

        for one in report.entries:
            say_json(ENTRY_JSON, one, indent=None)
        return
    for line in table_of(report.entries):
        say(line)
    if not report.entries:
        alone = "" if message is None else " of this message alone: what came together with many is one line for all"
        say(f"nothing that is remembered{alone}")
    if not report.is_whole:
        complain(f"only the newest {len(report.entries)} are shown; --limit shows more")


def _report(config: "Config", question: "Question") -> "HistoryReport":
    from dataclasses import asdict
    from urllib.parse import urlencode

    from syncd.daemon.people.answers_json import HISTORY_JSON

    wanted = {key: value for key, value in asdict(question).items() if value is not None}
    answer = Client(config.daemon.socket).get_if_running(f"/history?{urlencode(wanted)}")
    if answer is not None:
        return decoded(HISTORY_JSON, answer)

    import asyncio

    from syncd.daemon.people.reading import read_history

    with store_to_read(config) as db:
        return asyncio.run(read_history(db, question))


def begin_of(since: str, *, now: float) -> float:
    """Return the time that a person names: so long ago, or a date of this machine's clock."""
    from datetime import datetime

    from syncd.config.amounts import parse_duration

    try:
        return now - parse_duration(since)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(since).timestamp()
    except (ValueError, OverflowError, OSError):
        raise typer.BadParameter(f"--since should be like 2h, 3d or 2026-11-25, not {since!r}") from None


def _refuse_unknown(kind: str, name: str | None, known: Collection[str]) -> None:
    """Refuse a name of which nothing is remembered and that is not configured either: it is a slip."""
    if name is not None and name not in known:
        raise typer.BadParameter(unknown(kind, name, known))


def table_of(entries: "tuple[Entry, ...]") -> list[str]:
    """Return the lines of a table, escaped; none of nothing."""
    return aligned([_HEADS, *map(_cells, entries)]) if entries else []


def _cells(one: "Entry") -> tuple[str, ...]:
    from syncd.config.problems import brief, printable

    where = f"{one.account}/{one.mailbox}" if one.mailbox is not None else ""
    cells = (
        clock(one.at),
        one.device or "server",
        where,
        "" if one.message is None else str(one.message),
        "" if one.uid is None else str(one.uid),
        deed_of(one),
        one.origin,
        outcome_of(one),
    )
    return tuple(brief(printable(cell)) for cell in cells)


def clock(at: float) -> str:
    """Return a time as the clock on the wall shows it."""
    from datetime import datetime

    return datetime.fromtimestamp(at).isoformat(" ", "seconds")  # noqa: DTZ006


def deed_of(one: "Entry") -> str:
    """Say what was done, and to how many messages if to several."""
    is_counted = one.message is None and (one.messages != 1 or one.verb == _LIST)
    several = [count(one.messages, "message")] if is_counted else []
    return " ".join(part for part in (_WORDS.get(one.verb, one.verb), *several, one.detail) if part)


def outcome_of(one: "Entry") -> str:
    """Say how it ended, and why it was not done; why it was held before is told by the line that says so."""
    return one.outcome + (f": {_why(one)}" if one.reason and one.outcome != "done" else "")


def _why(one: "Entry") -> str:
    from syncd.reconcile.guard import Reason, as_words

    return as_words(Reason(one.reason)) if one.reason in set(Reason) else one.reason
