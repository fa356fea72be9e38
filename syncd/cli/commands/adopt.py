"""Floor 6: `syncd adopt`: what is in a device's directory is its own, wherever it comes from; nothing of it is lost."""

from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.client import Client, decoded
from syncd.cli.configured import configuration, unknown
from syncd.cli.options import ConfigOption
from syncd.cli.screen.words import count
from syncd.cli.terminal import say

if TYPE_CHECKING:
    from syncd.config.model import Config
    from syncd.daemon.people.answers import AdoptReport


def adopt(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="The device whose directory is meant.")],
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Go on though there are files in no mailbox, and leave them alone.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Go on with what is in a device's directory: after a backup or a lost store, or with mail of another program.

    Nothing is deleted for being missing there, and what is there already is not fetched again. What the server has not
    is sent there. Where files are in no mailbox of the layout, nothing is done.
    """
    settings = configuration(config).config
    if device not in settings.devices:
        raise typer.BadParameter(unknown("device", device, settings.devices))

    client = Client(settings.daemon.socket)
    is_running = client.is_running()
    if is_running:
        report = _by_daemon(client, device, leaves_others=anyway)
    else:
        report = _by_ourselves(settings, device, leaves_others=anyway)
    say(f"{device}: found {report.found} in {settings.devices[device].path}")
    if report.is_empty:
        say(f"{device}: all its mail is delivered there anew")
    else:
        where = count(report.mailboxes, "mailbox", "mailboxes") if report.files else "its mailboxes"
        there = f"{count(report.files, 'file')} in {where}"
        what = "what either lacks it gets, and nothing missing is deleted"
        say(f"{device}: {there}, each to be compared with the server: {what}")
    if report.left:
        say(f"{device}: {report.left}")
    if not is_running:
        say("the daemon is not running: this happens with the next syncd sync or syncd run")


def _by_daemon(client: Client, device: str, *, leaves_others: bool) -> "AdoptReport":
    from syncd.daemon.people.answers import AdoptRequest
    from syncd.daemon.people.answers_json import ADOPT_JSON, ADOPTED_JSON

    return decoded(
        ADOPTED_JSON, client.post("/adopt", ADOPT_JSON.dump_json(AdoptRequest(device, leaves_others=leaves_others)))
    )


def _by_ourselves(config: "Config", device: str, *, leaves_others: bool) -> "AdoptReport":
    from syncd.daemon.people.adoption import adopt_alone

    return adopt_alone(config, device, leaves_others=leaves_others)
