"""Floor 6: `syncd auth`: access to an account's mail, granted by a person at the provider."""

from typing import Annotated

import typer

from syncd.cli.client import Client, decoded
from syncd.cli.configured import configuration, unknown
from syncd.cli.options import ConfigOption
from syncd.cli.plain import Plain, number
from syncd.cli.terminal import say
from syncd.errors import SyncdError

auth = typer.Typer(
    help="Log in at providers that take tokens of OAuth.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@auth.callback()
def _auth() -> None:
    pass


@auth.command(cls=Plain, short_help="Let a provider grant access to an account's mail.")
def login(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="An account with oauth in its table.")],
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="PORT",
            parser=number(1, 65535),
            help="Where on this machine a browser comes back to, at a provider that takes no codes; else any.",
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Let a provider grant access to the mail of an account, in a browser on this machine or on any other.

    The access is kept in the store, sealed, and renewed by syncd until it is withdrawn. No password is asked for here.
    """
    settings = configuration(config, needs_logins=False).config
    if account not in settings.accounts:
        raise typer.BadParameter(unknown("account", account, settings.accounts))
    if settings.accounts[account].oauth is None:
        raise typer.BadParameter(f"accounts.{account} has no oauth in the configuration")
    client = Client(settings.daemon.socket)
    if is_running := client.is_running():
        _see_that_it_is_known(client, account)

    from syncd.cli.screen.granting import granted
    from syncd.oauth.provider import ProviderError

    try:
        grant = granted(account, settings.accounts[account], port=port or 0)
    except ProviderError as error:
        raise SyncdError(f"{error}{f': {error.words}' if error.words else ''}") from error
    if is_running:
        from syncd.daemon.people.answers import LoginRequest
        from syncd.daemon.people.answers_json import LOGIN_JSON

        client.post("/auth/login", LOGIN_JSON.dump_json(LoginRequest(account, grant.as_text())))
        say(f"{account}: access is granted, and the daemon logs in with it: syncd status shows how that goes")
    else:
        from syncd.daemon.people.logins import keep_grant_alone

        keep_grant_alone(settings, account, grant)
        say(f"{account}: access is granted: the next syncd sync or syncd run logs in with it")


def _see_that_it_is_known(client: Client, account: str) -> None:
    """Raise SyncdError where the daemon could not keep what is granted, before anybody goes to a browser for it."""
    from syncd.daemon.people.answers_json import STATUS_JSON

    status = decoded(STATUS_JSON, client.get("/status?brief"))
    if all(one.name != account for one in status.accounts):
        raise SyncdError(f"the daemon has no account {account} yet: syncd reload")
