"""Floor 2: which application asks whom for an account's tokens of OAuth, and for what access.

House rule: what is known of a provider is what it says in public. No application is known: each belongs to somebody.
"""

from collections.abc import Mapping

from syncd.config.accounts import ImapConfig, Pop3Config
from syncd.values import Opaque, Value, field


class Application(Opaque):
    """Name an application at its provider, and where the provider is asked (RFC 6749 §3, RFC 8628 §3.1).

    One of device_url and authorization_url is there at least. redirect_host: how a browser is told to come back to this
    machine. extra: what else an authorization is asked with.
    """

    client_id: str
    client_secret: str | None
    token_url: str
    device_url: str | None
    authorization_url: str | None
    scopes: tuple[str, ...]
    redirect_host: str
    extra: Mapping[str, str]


class _Provider(Value):
    """Say where a provider is asked, with `{tenant}` in it where there are several, and for which access to mail."""

    token_url: str
    authorization_url: str
    scopes: Mapping[str, tuple[str, ...]]
    device_url: str | None = None
    redirect_host: str = "127.0.0.1"
    extra: Mapping[str, str] = field(default_factory=dict)


_EVERYBODY = "common"
_MICROSOFT = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0"
_OF_OUTLOOK = "https://outlook.office.com"
_OF_GMAIL = ("https://mail.google.com/",)
_PROVIDERS: Mapping[str, _Provider] = {
    "gmail": _Provider(
        token_url="https://oauth2.googleapis.com/token",  # noqa: S106 - an address
        authorization_url="https://accounts.google.com/o/oauth2/v2/auth",
        scopes={"imap": _OF_GMAIL, "pop3": _OF_GMAIL},
        # NOTE: Google gives a token to renew the access with only if asked so, and later only at a new consent. By a
        # code on another device it gives no access to mail at all.
        extra={"access_type": "offline", "prompt": "consent"},
    ),
    "outlook": _Provider(
        token_url=f"{_MICROSOFT}/token",
        authorization_url=f"{_MICROSOFT}/authorize",
        device_url=f"{_MICROSOFT}/devicecode",
        redirect_host="localhost",  # the name that it lets applications of people register
        scopes={
            "imap": (f"{_OF_OUTLOOK}/IMAP.AccessAsUser.All", "offline_access"),
            "pop3": (f"{_OF_OUTLOOK}/POP.AccessAsUser.All", "offline_access"),
        },
    ),
}
"""By the names that a configuration has."""


def application_of(account: ImapConfig | Pop3Config) -> Application:
    """Return the application of an account that has `oauth`; ValueError, which says which keys are missing."""
    written = account.oauth
    if written is None:
        raise ValueError("no application is configured")
    known = _PROVIDERS.get(account.provider or "")
    tenant = written.tenant or _EVERYBODY
    if written.tenant and (written.token_url or known is None or "{tenant}" not in known.token_url):
        raise ValueError("tenant has no effect here: it is a part of what provider fills in for outlook")

    def address(key: str) -> str | None:
        template: str | None = getattr(known, key, None)
        found: str | None = getattr(written, key)
        return found or (template and template.replace("{tenant}", tenant))

    token_url, device_url, authorization_url = map(address, ("token_url", "device_url", "authorization_url"))
    scopes = written.scopes or (known.scopes[account.type] if known is not None else ())
    missing = [key for key, value in (("token_url", token_url), ("scopes", scopes)) if not value]
    missing += [] if device_url or authorization_url else ["device_url or authorization_url"]
    if token_url is None or missing:
        known_ones = " or ".join(f'"{name}"' for name in _PROVIDERS)
        raise ValueError(f"{', '.join(missing)}: missing, unless provider is {known_ones}, of which that is known")
    secret = written.client_secret
    return Application(
        written.client_id,
        secret.get_secret_value() if secret is not None else None,
        token_url,
        device_url,
        authorization_url,
        scopes,
        known.redirect_host if known is not None else "127.0.0.1",
        known.extra if known is not None and written.authorization_url is None else {},
    )
