"""Floor 6: `syncd auth`: access to an account's mail, granted by a person at the provider."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.client import Client, DaemonDownError
from syncd.cli.configured import configuration, unknown
from syncd.cli.options import ConfigOption
from syncd.cli.plain import Plain, number
from syncd.cli.terminal import say
from syncd.errors import StoreBusyError, SyncdError

if TYPE_CHECKING:
    from syncd.config.model import Config
    from syncd.daemon.people.answers import LoginRequest

_PATIENCE_S = 60.0
_STEP_S = 0.5

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
    browser: Annotated[
        bool, typer.Option("--browser", help="Without a code, though the provider has them: some do not allow it.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="PORT",
            parser=number(1, 65535),
            help="Where on this machine a browser comes back to; else any. It says --browser as well.",
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
    wanted = settings.accounts[account]
    if wanted.oauth is None:
        raise typer.BadParameter(f"accounts.{account} has no oauth in the configuration")

    from syncd.cli.screen.granting import granted
    from syncd.config.oauth import application_of
    from syncd.daemon.people.answers import LoginRequest
    from syncd.oauth.provider import ProviderError
    from syncd.values import replace

    application = application_of(wanted)
    has_secret = application.client_secret is not None
    request = LoginRequest(account, application.client_id, application.token_url, has_secret)
    _keep(settings, request)  # lest a person goes to a browser for nothing
    try:
        grant = granted(account, application, wanted.username, browser=browser or port is not None, port=port or 0)
    except ProviderError as error:
        raise SyncdError(f"{error}{f': {error.words}' if error.words else ''}") from error
    if _keep(settings, replace(request, grant=grant.as_text())):
        say(f"{account}: access is granted, and the daemon logs in with it: syncd status shows how that goes")
    else:
        say(f"{account}: access is granted: the next syncd sync or syncd run logs in with it")


def _keep(config: "Config", request: "LoginRequest") -> bool:
    """Have a grant kept, or see that it could be, by the daemon or ourselves; tell whether it was the daemon.

    Whoever owns the store for a short time is waited for, and a daemon may begin or end meanwhile.
    """
    from syncd.daemon.people.answers_json import LOGIN_JSON

    client, deadline = Client(config.daemon.socket), time.monotonic() + _PATIENCE_S
    while True:
        try:
            client.post("/auth/login", LOGIN_JSON.dump_json(request))
        except DaemonDownError:
            from syncd.daemon.people.logins import keep_grant_alone

            try:
                keep_grant_alone(config, request)
            except StoreBusyError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_STEP_S)
            else:
                return False
        else:
            return True
