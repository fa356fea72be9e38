"""Floor 6: `syncd sync`: complete rounds until there is nothing left to do."""

from typing import Annotated

import typer

from syncd.cli.commands.syncing import sync_accounts
from syncd.cli.options import ConfigOption

AccountsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="ACCOUNT", help="Accounts to sync; all when none is named.")
]


def sync(accounts: AccountsArgument = None, config: ConfigOption = None) -> None:
    """Sync until there is nothing left to do; exit code 1 if something failed or is held."""
    if not sync_accounts(accounts or (), config):
        raise typer.Exit(1)
