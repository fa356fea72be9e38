"""Floor 6: `syncd events`: what happens, as it happens, until interrupted."""

from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.client import Client, DaemonDownError, decoded
from syncd.cli.configured import nobody, socket
from syncd.cli.options import ConfigOption
from syncd.cli.terminal import say

if TYPE_CHECKING:
    from syncd.daemon.people.answers import Event

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line, as the daemon tells it.")]


def events(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show what changes on servers and devices, and who fails or recovers, as it happens; the daemon has to run."""
    client = Client(socket(config))

    from syncd.daemon.people.answers_json import EVENT_JSON
    from syncd.errors import SyncdError

    try:
        for line in client.follow("/events"):
            if as_json:
                typer.echo(line, nl=False)
            else:
                say(line_of(decoded(EVENT_JSON, line)))
    except DaemonDownError as error:
        raise nobody(config) from error
    except KeyboardInterrupt:
        raise typer.Exit from None
    raise SyncdError("the daemon has stopped")


def line_of(event: "Event") -> str:
    """Say in one line what happened, with the words that `syncd history` has for it."""
    from syncd.cli.commands.history import clock, deed_of, outcome_of

    if (entry := event.entry) is not None:
        where = entry.device or "server"
        place = f" {entry.account}/{entry.mailbox}" if entry.mailbox is not None else ""
        message = "" if entry.message is None else f", message {entry.message}"
        outcome = "" if entry.outcome == "done" else f"; {outcome_of(entry)}"
        return f"{clock(event.at)} {where}{place}: {deed_of(entry)}{message}, by {entry.origin}{outcome}"
    subject, _, happened = event.kind.partition("_")
    who = event.account or event.device or subject
    what = happened if event.state is None else f"is {event.state}"
    return f"{clock(event.at)} {who}: {what}" + (f": {event.error}" if event.error else "")
