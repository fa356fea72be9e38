"""Floor 6: `syncd status`: how everybody is; with the daemon down, what the store remembers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.client import Client, decoded
from syncd.cli.configured import configuration, socket
from syncd.cli.options import ConfigOption
from syncd.cli.terminal import say_json

if TYPE_CHECKING:
    from syncd.cli.screen.picture import Picture
    from syncd.cli.screen.watching import Watching
    from syncd.daemon.status.status import Status

_STEP_S = 1.0
_PLAIN_STEP_S = 2.0

JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON object; with --watch one a line, whenever something changed.")
]
WatchOption = Annotated[bool, typer.Option("--watch", "-w", help="Show it live, until interrupted.")]
MailboxesOption = Annotated[bool, typer.Option("--mailboxes", help="Every mailbox of every device as well.")]


def status(
    config: ConfigOption = None,
    as_json: JsonOption = False,
    watch: WatchOption = False,
    mailboxes: MailboxesOption = False,
) -> None:
    """Show whether all is well, and else what to do; accounts, devices, what is held, and how far all of it is."""
    query = "" if as_json or mailboxes else "brief"
    if not watch:
        _show_once(current(config, query), as_json=as_json, every_mailbox=mailboxes)
        return

    from syncd.cli.screen.watching import Watching

    watching = Watching(config, f"{query}&watch")
    try:
        if as_json:
            _follow_json(watching)
        else:
            _follow(watching, every_mailbox=mailboxes)
    except KeyboardInterrupt:
        raise typer.Exit from None


def current(config: Path | None, query: str = "") -> "Status":
    """Return the status from the daemon, else from the store, which is opened for reading only.

    A configuration that cannot be used hides no daemon that runs: it tells what is wrong.
    """
    answer = Client(socket(config)).get_if_running(f"/status?{query}")
    if answer is None:
        from syncd.cli.screen.watching import from_store

        return from_store(configuration(config).config)

    from syncd.daemon.people.answers_json import STATUS_JSON

    return decoded(STATUS_JSON, answer)


def _show_once(seen: "Status", *, as_json: bool, every_mailbox: bool) -> None:
    if as_json:
        from syncd.daemon.people.answers_json import STATUS_JSON

        say_json(STATUS_JSON, seen)
        return

    from syncd.cli.screen.picture import picture_of
    from syncd.cli.screen.view import a_console, show

    show(picture_of(seen, every_mailbox=every_mailbox), a_console())


def _follow(watching: "Watching", *, every_mailbox: bool) -> None:
    """Show the picture live; where nobody can redraw it, again whenever something changed."""
    from syncd.cli.screen.picture import DIM, WARN, Line, picture_of
    from syncd.cli.screen.view import a_console, live_screen, show
    from syncd.cli.screen.watching import without_times
    from syncd.values import replace

    def picture(seen: "Status") -> "Picture":
        whole = picture_of(seen, every_mailbox=every_mailbox)
        remarks = tuple(Line(text, WARN if is_trouble else DIM) for text, is_trouble in watching.remarks(seen.at))
        return replace(whole, foot=(*remarks, *whole.foot))

    console = a_console()
    if not console.is_terminal or console.is_dumb_terminal:
        before: object = None
        for seen in watching.statuses(_PLAIN_STEP_S):
            if (now := without_times(seen)) != before:
                show(picture(seen), console)
                before = now
    last = None
    try:
        with live_screen(console) as screen:
            for seen in watching.statuses(_STEP_S):
                last = picture(seen)
                screen.show(last)
    finally:
        if last is not None:
            show(last, console)  # the terminal has forgotten it together with the screen


def _follow_json(watching: "Watching") -> None:
    from syncd.cli.screen.watching import without_times
    from syncd.daemon.people.answers_json import STATUS_JSON

    before: object = None
    for seen in watching.statuses(_PLAIN_STEP_S):
        if (now := without_times(seen)) != before:
            say_json(STATUS_JSON, seen, indent=None)
            before = now
