"""Floor 6: `syncd restore`: deleted messages brought back to where they were, on the server and so on every device."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.client import Client, decoded
from syncd.cli.commands.history import AccountOption, SinceOption, begin_of
from syncd.cli.configured import configuration, unknown
from syncd.cli.options import ConfigOption
from syncd.cli.stored import store_to_change, store_to_read
from syncd.cli.terminal import aligned, complain, say, say_json

if TYPE_CHECKING:
    from syncd.config.model import Config
    from syncd.daemon.people.answers import RestoreLine, RestoreReport, RestoreRequest

_HEADS = ("message", "deleted", "from", "what", "sender", "subject")
_WORDS = {
    "sent": "goes back to {to}",
    "moved": "is moved back from {there} to {to}",
    "kept": "goes back to {to}, from the files that devices have still",
    "there": "is there: {there}",
    "underway": "is on its way to {to}",
    "swept": "cannot come back: the store does not have it any more",
}
_COMING = ("sent", "moved", "kept")

MessagesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="MESSAGE", help="Numbers as syncd history shows them, or Message-IDs."),
]
MailboxOption = Annotated[
    str | None, typer.Option("--mailbox", metavar="MAILBOX", help="Deleted from this mailbox: INBOX, or work/INBOX.")
]
ToOption = Annotated[
    str | None, typer.Option("--to", metavar="MAILBOX", help="Into this mailbox instead of that where each was.")
]
DryOption = Annotated[bool, typer.Option("--dry-run", "-n", help="Only show what would be restored.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


def restore(
    messages: MessagesArgument = None,
    *,
    account: AccountOption = None,
    mailbox: MailboxOption = None,
    since: SinceOption = None,
    to: ToOption = None,
    is_dry: DryOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring deleted messages back to where they were: those named, or all of an account, a mailbox and a time.

    They come back with their flags and dates, on the server and on every device, as long as the store keeps them
    (retention). One that is in the Trash still is moved back; a mailbox that is gone is made again.
    """
    if messages and (mailbox is not None or since is not None):
        raise typer.BadParameter("name messages, or choose them by --mailbox and --since, not both")
    if not (messages or account or mailbox or since or is_dry):
        raise typer.BadParameter("name messages, or choose them by --account, --mailbox or --since")
    settings = configuration(config).config
    if account is not None and account not in settings.accounts:
        raise typer.BadParameter(unknown("account", account, settings.accounts))
    begin = None if since is None else begin_of(since, now=time.time())

    from syncd.daemon.people.answers import RestoreRequest

    wanted = RestoreRequest(tuple(messages or ()), account, mailbox, begin, to, is_dry)
    report, is_running = _ask(settings, wanted)
    if as_json:
        from syncd.daemon.people.answers_json import RESTORED_JSON

        say_json(RESTORED_JSON, report)
    else:
        _tell(report, has_names=bool(messages), is_running=is_running)
    if messages and report.counts.get("swept"):
        raise typer.Exit(1)


def _tell(report: "RestoreReport", *, has_names: bool, is_running: bool) -> None:
    if report.lines:
        for line in aligned([_HEADS, *map(_cells, report.lines)]):
            say(line)
    if not report.is_whole:
        complain(f"only the last {len(report.lines):,} are shown")
    if not has_names and (swept := report.counts.get("swept")):
        say(f"{swept:,} more cannot come back: they were deleted longer ago than the store keeps them (retention)")
    count = sum(report.counts.get(fate, 0) for fate in _COMING)
    messages = f"{count:,} message{'' if count == 1 else 's'}"
    if not count:
        say("nothing to restore")
    elif report.is_dry:
        say(f"{messages} would be restored; nothing was done")
    else:
        say(f"{messages} on the way back")
    if count and not report.is_dry and not is_running:
        say("the daemon is not running: it happens with the next syncd sync or syncd run")


def _cells(one: "RestoreLine") -> tuple[str, ...]:
    from datetime import datetime

    from syncd.config.problems import brief, printable

    when = "" if one.deleted_at is None else datetime.fromtimestamp(one.deleted_at).isoformat(" ", "seconds")  # noqa: DTZ006  # the clock on the wall
    cells = (
        str(one.message),
        when,
        f"{one.account}/{one.mailbox}",
        _WORDS[one.fate].format(to=one.to, there=one.there or one.mailbox),
        one.sender,
        one.subject,
    )
    return tuple(brief(printable(cell)) for cell in cells)


def _ask(config: "Config", wanted: "RestoreRequest") -> "tuple[RestoreReport, bool]":
    """Return what the daemon says, or the store, and whether the daemon runs."""
    client = Client(config.daemon.socket)
    if client.is_running():
        from syncd.daemon.people.answers_json import RESTORE_JSON, RESTORED_JSON

        return decoded(RESTORED_JSON, client.post("/restore", RESTORE_JSON.dump_json(wanted))), True

    from syncd.daemon.people.restoring import read_deleted, restore

    if wanted.is_dry:
        with store_to_read(config) as db:
            return db.read_now(lambda conn: read_deleted(conn, config, wanted=wanted)), False
    with store_to_change(config) as db:
        return db.write_now(lambda conn: restore(conn, config, wanted=wanted, now=time.time())), False
