"""Floor 6: `syncd auth`: access to an account's mail, granted by a person at the provider."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.client import Client, DaemonDownError, DaemonGoneError
from syncd.cli.configured import configuration, unknown
from syncd.cli.options import ConfigOption
from syncd.cli.plain import Plain, number
from syncd.cli.terminal import complain, say
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
    from syncd.config.model import LogLevel
    from syncd.config.oauth import application_of
    from syncd.daemon.people.answers import LoginRequest
    from syncd.daemon.process import logs
    from syncd.oauth.provider import ProviderError
    from syncd.values import replace

    logs.configure(settings.daemon, at_least=LogLevel.ERROR)
    application, by_browser = application_of(wanted), browser or port is not None
    if by_browser and application.authorization_url is None:
        raise typer.BadParameter(f"accounts.{account}.oauth has no authorization_url for a browser to go to")
    has_secret = application.client_secret is not None
    request = LoginRequest(account, application.client_id, application.token_url, has_secret)
    _keep(settings, request)  # lest a person goes to a browser for nothing
    try:
        grant = granted(account, application, wanted.username, browser=by_browser, port=port or 0)
    except ProviderError as error:
        raise SyncdError(f"{error}{f': {error.words}' if error.words else ''}") from error
    if _keep(settings, replace(request, grant=grant.as_text())):
        say(f"{account}: access is granted, and the daemon logs in with it: syncd status shows how that goes")
    else:
        say(f"{account}: access is granted: the next syncd sync or syncd run logs in with it")


def _keep(config: "Config", request: "LoginRequest") -> bool:
    """Have a grant kept, or see that it could be; tell whether it was the daemon that did it.

    Whoever owns the store for a short time is waited for, and a daemon may begin or end meanwhile.
    """
    deadline, is_told = time.monotonic() + _PATIENCE_S, False
    while True:
        try:
            return _keep_now(config, request)
        except (DaemonGoneError, StoreBusyError) as error:
            if time.monotonic() > deadline:
                raise
            if isinstance(error, StoreBusyError) and not is_told:
                complain(f"{error}; waiting for its end, for a minute at most")
                is_told = True
            time.sleep(_STEP_S)


def _keep_now(config: "Config", request: "LoginRequest") -> bool:
    """Have it kept by the daemon, or else in a store that is ours for that moment; tell whether by the daemon."""
    from syncd.daemon.people.answers_json import LOGIN_JSON

    try:
        Client(config.daemon.socket).post("/auth/login", LOGIN_JSON.dump_json(request))
    except DaemonDownError:
        from syncd.daemon.people.logins import keep_grant_alone

        keep_grant_alone(config, request)
        return False
    return True
