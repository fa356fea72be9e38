"""Floor 2: providers that are known by name: where their servers are, and what they take to log in.

House rule: a row is what the provider, or the database that Thunderbird asks, says in public. All of them encrypt from
the beginning, on the usual ports, which are the defaults of `tls` and `port`.
"""

from collections.abc import Mapping
from typing import Any

from syncd.config.problems import did_you_mean
from syncd.values import Value


class Provider(Value):
    """Describe a provider. pop3: None where there is none. domains: of its addresses, those most people have.

    login: a sentence about what it takes, empty where it is the password of the account. has_tokens_only: it takes no
    password at all. is_user_local_part: the name to log in with is what is before the `@`.
    """

    imap: str
    pop3: str | None
    domains: tuple[str, ...]
    login: str = ""
    has_tokens_only: bool = False
    is_user_local_part: bool = False

    def host(self, kind: str) -> str | None:
        """Return its server for accounts of a type."""
        return self.imap if kind == "imap" else self.pop3


_SWITCHED_ON = (
    "lets programs in only once that is switched on in its settings; with two factors it takes an app password"
)

PROVIDERS: Mapping[str, Provider] = {
    "gmail": Provider(
        "imap.gmail.com",
        "pop.gmail.com",
        ("gmail.com", "googlemail.com"),
        "Gmail takes an app password, which needs two factors, and not the password of the account",
    ),
    "outlook": Provider(
        "outlook.office365.com",
        "outlook.office365.com",
        ("outlook.com", "hotmail.com", "live.com", "msn.com"),
        "Outlook takes no passwords any more, only tokens of OAuth",
        has_tokens_only=True,
    ),
    "fastmail": Provider(
        "imap.fastmail.com",
        "pop.fastmail.com",
        ("fastmail.com", "fastmail.fm"),
        "Fastmail takes an app password, and not the password of the account",
    ),
    "icloud": Provider(
        "imap.mail.me.com",
        None,
        ("icloud.com", "me.com", "mac.com"),
        "iCloud takes an app-specific password, and not the password of the account",
        is_user_local_part=True,
    ),
    "yahoo": Provider(
        "imap.mail.yahoo.com",
        "pop.mail.yahoo.com",
        ("yahoo.com", "yahoo.co.uk", "yahoo.de", "yahoo.es", "yahoo.fr", "yahoo.it", "ymail.com", "rocketmail.com"),
        "Yahoo takes an app password, and not the password of the account",
    ),
    "aol": Provider(
        "imap.aol.com",
        "pop.aol.com",
        ("aol.com", "aim.com"),
        "AOL takes an app password, and not the password of the account",
    ),
    "gmx": Provider(
        "imap.gmx.net",
        "pop.gmx.net",
        ("gmx.net", "gmx.de", "gmx.at", "gmx.ch", "gmx.eu", "gmx.org"),
        f"GMX {_SWITCHED_ON}",
    ),
    "gmx.com": Provider(
        "imap.gmx.com",
        "pop.gmx.com",
        ("gmx.com", "gmx.co.uk", "gmx.us", "gmx.es", "gmx.fr", "gmx.it"),
        f"GMX {_SWITCHED_ON}",
    ),
    "web.de": Provider("imap.web.de", "pop3.web.de", ("web.de",), f"WEB.DE {_SWITCHED_ON}", is_user_local_part=True),
    "mailbox.org": Provider("imap.mailbox.org", "pop3.mailbox.org", ("mailbox.org",)),
    "posteo": Provider("posteo.de", "posteo.de", ("posteo.de", "posteo.net", "posteo.org", "posteo.eu")),
    "yandex": Provider(
        "imap.yandex.com",
        "pop.yandex.com",
        ("yandex.com", "yandex.ru", "ya.ru"),
        "Yandex takes an app password, and not the password of the account",
    ),
    "zoho": Provider(
        "imap.zoho.com",
        "pop.zoho.com",
        ("zoho.com", "zohomail.com"),
        "Zoho takes an app password where the account has two factors",
    ),
    "zoho.eu": Provider(
        "imap.zoho.eu",
        "pop.zoho.eu",
        ("zoho.eu", "zohomail.eu"),
        "Zoho takes an app password where the account has two factors",
    ),
}
"""By the names that a configuration has."""

_NOWHERE = "provider.invalid"
_LIKENESS = 0.75
"""Less than that is as like as names of two providers are: proton and posteo."""


def known_provider(name: str) -> str:
    """Return the name of a provider; ValueError, with the nearest name, for one that is none."""
    if name not in PROVIDERS:
        all_of_them = f": known are {', '.join(PROVIDERS)}"
        near = _of_domain(name) or name
        raise ValueError(f"unknown provider{did_you_mean(near, PROVIDERS, likeness=_LIKENESS) or all_of_them}")
    return name


def _of_domain(name: str) -> str | None:
    """Return the name of the provider that has a domain of this name, such as hotmail, or hotmail.com."""
    begin = f"{name.lower()}."
    return next(
        (known for known, one in PROVIDERS.items() if any(f"{domain}.".startswith(begin) for domain in one.domains)),
        None,
    )


def with_type(name: str, kind: str) -> str:
    """Return the name of a provider that has servers of this type, else ValueError."""
    if PROVIDERS[name].host(kind) is None:
        raise ValueError('this provider has no POP3: set type = "imap"')
    return name


def filled_in(account: Any, kind: str) -> Any:
    """Return what is written of an account, with the server of its provider where none is written.

    A provider that cannot be used is told as such, and gives a server that is none: that is not missing as well.
    """
    if not isinstance(account, Mapping) or "provider" not in account or "host" in account:
        return account
    name = account["provider"]
    provider = PROVIDERS.get(name) if isinstance(name, str) else None
    return {**account, "host": (provider and provider.host(kind)) or _NOWHERE}


def provider_of(address: str) -> str | None:
    """Return the name of the provider whom the domain of an address shows, None where it shows none."""
    domain = address.rpartition("@")[2].lower()
    return next((name for name, provider in PROVIDERS.items() if domain in provider.domains), None)
