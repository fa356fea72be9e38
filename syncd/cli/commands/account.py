"""Floor 6: `syncd account`: what is done to an account as a whole."""

from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.client import Client
from syncd.cli.configured import configuration
from syncd.cli.options import ConfigOption
from syncd.cli.plain import Plain
from syncd.cli.stored import store_to_change
from syncd.cli.terminal import say

if TYPE_CHECKING:
    from syncd.config.model import Config

account = typer.Typer(
    help="Change an account as a whole.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)


@account.callback()
def _account() -> None:
    pass


@account.command(cls=Plain, short_help="Let an account go on under another name.")
def rename(
    name: Annotated[str, typer.Argument(metavar="OLD", help="What the account was called.")],
    to: Annotated[str, typer.Argument(metavar="NEW", help="What it is called in the configuration now.")],
    config: ConfigOption = None,
) -> None:
    """Let an account go on with its mail under another name, which the configuration has by now.

    On every device the directories of its mailboxes get that name; nothing is fetched or delivered again.
    """
    settings = configuration(config).config
    client = Client(settings.daemon.socket)
    if client.is_running():
        from syncd.daemon.people.answers import RenameRequest
        from syncd.daemon.people.answers_json import RENAME_JSON

        client.post("/account/rename", RENAME_JSON.dump_json(RenameRequest(name, to)))
    else:
        _by_ourselves(settings, name, to)
    say(f"account {name} is account {to} now")


def _by_ourselves(config: "Config", name: str, to: str) -> None:
    from syncd.daemon.serving.identity import rename_account

    with store_to_change(config) as db:
        db.write_now(lambda conn: rename_account(conn, config, name=name, to=to))
