"""Floor 6: `syncd purge`: what accounts and devices left in the store, once they are in the configuration no more."""

from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.client import Client, decoded
from syncd.cli.configured import configuration
from syncd.cli.options import ConfigOption
from syncd.cli.screen.words import count
from syncd.cli.stored import store_to_read
from syncd.cli.terminal import complain, say

if TYPE_CHECKING:
    from syncd.config.model import Config
    from syncd.daemon.people.answers import PurgeLine, PurgeReport, PurgeRequest

_NAMED = "nothing was done; --yes removes it for good"
_UNNAMED = "nothing was done: syncd purge --yes with --account NAME or --device NAME removes that one for good"


def purge(
    *,
    account: Annotated[list[str] | None, typer.Option("--account", metavar="NAME", help="This account.")] = None,
    device: Annotated[list[str] | None, typer.Option("--device", metavar="NAME", help="This device.")] = None,
    is_meant: Annotated[bool, typer.Option("--yes", help="Do it; else it is only shown.")] = False,
    config: ConfigOption = None,
) -> None:
    """Remove from the store what belongs to accounts and devices that are not in the configuration any more.

    Without names it shows what there is. Mail on servers and files on devices are not touched.
    """
    if is_meant and not (account or device):
        raise typer.BadParameter("name what is meant by --account and --device")
    settings = configuration(config).config

    from syncd.daemon.people.answers import PurgeRequest

    report, is_running = _ask(settings, PurgeRequest(tuple(account or ()), tuple(device or ()), not is_meant))
    for one in report.lines:
        say(_told(one))
    if not report.lines:
        say("the store has nothing but what is in the configuration")
    elif not is_meant:
        complain(_NAMED if account or device else _UNNAMED)
    elif is_running:
        say("it is being removed")
    else:
        say("it is removed")


def _told(one: "PurgeLine") -> str:
    number = count(one.messages, "message" if one.kind == "account" else "file")
    return f"{one.kind} {one.name}: {number}{', which no server has' if one.is_only_copy else ''}"


def _ask(config: "Config", wanted: "PurgeRequest") -> "tuple[PurgeReport, bool]":
    """Return what the daemon says, or the store, and whether the daemon runs."""
    client = Client(config.daemon.socket)
    if client.is_running():
        from syncd.daemon.people.answers_json import PURGE_JSON, PURGED_JSON

        return decoded(PURGED_JSON, client.post("/purge", PURGE_JSON.dump_json(wanted))), True

    from syncd.daemon.people.purging import purge_alone, read_left

    with store_to_read(config) as db:  # a store that is not there is not made
        if wanted.is_dry:
            return db.read_now(lambda conn: read_left(conn, config, wanted=wanted)), False
    return purge_alone(config, wanted), False
