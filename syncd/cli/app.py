"""Floor 6: the commands of `syncd`: one Typer app, one file of `commands` for each.

House rule: a command's file imports nothing heavy at its top; `syncd --help` answers in a tenth of a second.
"""

from collections.abc import Callable
from typing import Annotated

import typer

from syncd.cli.commands.account import account
from syncd.cli.commands.adopt import adopt
from syncd.cli.commands.auth import auth
from syncd.cli.commands.backup import backup
from syncd.cli.commands.check import check_config
from syncd.cli.commands.doctor import doctor
from syncd.cli.commands.events import events
from syncd.cli.commands.health import health
from syncd.cli.commands.history import history
from syncd.cli.commands.holds import holds
from syncd.cli.commands.init import init
from syncd.cli.commands.migrate import migrate
from syncd.cli.commands.plan import plan
from syncd.cli.commands.purge import purge
from syncd.cli.commands.reload import reload
from syncd.cli.commands.restore import restore
from syncd.cli.commands.run import run
from syncd.cli.commands.status import status
from syncd.cli.commands.sync import sync
from syncd.cli.plain import Plain

app = typer.Typer(
    name="syncd",
    help="Keep your mail the same on its servers and on all your devices.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # they show local variables, and so secrets
)
_COMMANDS: dict[Callable[..., None], str] = {
    run: "Serve all accounts and devices until interrupted.",
    sync: "Sync once, until there is nothing left to do.",
    status: "Show whether all is well, and else what to do.",
    plan: "Show what a sync would do now.",
    history: "Show what was done, who wanted it, and what was held.",
    events: "Show what is done, as it happens.",
    restore: "Bring deleted messages back.",
    adopt: "Go on with what is in the directory of a device.",
    reload: "Apply the configuration as it is now.",
    backup: "Copy the store while the daemon goes on.",
    purge: "Remove from the store what is configured no more.",
    health: "Check that the daemon and its store answer.",
    doctor: "Look for what is wrong around syncd, or soon will be.",
    migrate: "Upgrade the store; the daemon must not be running.",
}
for _command, _short in _COMMANDS.items():
    app.command(cls=Plain, short_help=_short)(_command)
app.command("check-config", cls=Plain, short_help="Check the configuration.")(check_config)
app.command(cls=Plain, short_help="Write a first configuration.")(init)
app.add_typer(holds, name="holds", short_help="Show what waits for you, and decide it.")
app.add_typer(auth, name="auth")
app.add_typer(account, name="account")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"syncd {version('syncd')}")
        except PackageNotFoundError:
            typer.echo("syncd (a source tree that is not installed)")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
