"""Providers by name: what they fill in, what wins over it, and what they say of passwords."""

from pathlib import Path

import pytest

from syncd.config.accounts import Tls
from syncd.config.checks import what_providers_take
from syncd.config.providers import PROVIDERS, provider_of
from tests.unit.config.builders import LAPTOP, problems, reading


def account(kind: str, *lines: str) -> str:
    """Return an account that says no server."""
    return "\n".join(("[accounts.work]", f'type = "{kind}"', 'username = "ana"', 'password = "x"', *lines, LAPTOP))


@pytest.mark.parametrize("kind", ["imap", "pop3"])
@pytest.mark.parametrize("name", PROVIDERS)
def test_provider_fills_in_server_port_and_encryption(tmp_path: Path, name: str, kind: str) -> None:
    """No host is needed then; who has no POP3 says so, with the line."""
    text = account(kind, f'provider = "{name}"')
    host = PROVIDERS[name].host(kind)
    if host is None:
        assert problems(tmp_path, text) == [
            'syncd.toml:5: accounts.work.provider: this provider has no POP3: set type = "imap"'
        ]
        return

    work = reading(tmp_path, text).config.accounts["work"]

    assert (work.host, work.port, work.tls) == (host, 993 if kind == "imap" else 995, Tls.IMPLICIT)


def test_keys_that_are_written_win(tmp_path: Path) -> None:
    """A tunnel to a provider is said with a host and a port of its own."""
    lines = ('provider = "gmail"', 'host = "localhost"', "port = 1143", 'tls = "none"')

    work = reading(tmp_path, account("imap", *lines)).config.accounts["work"]

    assert (work.host, work.port, work.tls) == ("localhost", 1143, Tls.NONE)
    starttls = reading(tmp_path, account("imap", 'provider = "gmx"', 'tls = "starttls"')).config.accounts["work"]
    assert (starttls.host, starttls.port) == ("imap.gmx.net", 143)


def test_provider_from_a_variable_fills_in_as_well(tmp_path: Path) -> None:
    """It is looked at once all sources are read."""
    found = reading(tmp_path, account("imap"), {"SYNCD_ACCOUNTS__WORK__PROVIDER": "posteo"})

    assert found.config.accounts["work"].host == "posteo.de"


@pytest.mark.parametrize(
    ("line", "report"),
    [
        ('provider = "fastmial"', '5: accounts.work.provider: unknown provider (did you mean "fastmail"?)'),
        ('provider = "Gmail"', '5: accounts.work.provider: unknown provider (did you mean "gmail"?)'),
        ('provider = "hotmail"', '5: accounts.work.provider: unknown provider (did you mean "outlook"?)'),
        ('provider = "Ymail"', '5: accounts.work.provider: unknown provider (did you mean "yahoo"?)'),
        ('provider = "gmx.de"', '5: accounts.work.provider: unknown provider (did you mean "gmx"?)'),
        ('provider = "proton"', f"5: accounts.work.provider: unknown provider: known are {', '.join(PROVIDERS)}"),
        ('provider = "mail.ru"', f"5: accounts.work.provider: unknown provider: known are {', '.join(PROVIDERS)}"),
        ('provider = "xyzzy"', f"5: accounts.work.provider: unknown provider: known are {', '.join(PROVIDERS)}"),
        ("provider = 7", "5: accounts.work.provider: should be a valid string"),
        ("", "1: accounts.work.host: missing"),
    ],
)
def test_provider_that_is_none_is_one_problem_with_its_line(tmp_path: Path, line: str, report: str) -> None:
    """The nearest name, or whose domain it is, is offered; that no host is there either is no second problem.

    Without a provider it is one.
    """
    assert problems(tmp_path, account("imap", line)) == [f"syncd.toml:{report}"]


def test_same_mailbox_by_provider_and_by_host_is_found(tmp_path: Path) -> None:
    """Two accounts of one maildrop would delete for each other."""
    text = account("imap", 'provider = "gmail"').replace(LAPTOP, "") + account(
        "imap", 'host = "imap.gmail.com"'
    ).replace("[accounts.work]", "[accounts.twin]")

    assert problems(tmp_path, text) == [
        "syncd.toml:6: accounts.twin: the same host and username as accounts.work",
    ]


def test_what_a_provider_takes_is_said_of_accounts_with_a_password(tmp_path: Path) -> None:
    """An app password, or none at all; nothing where the password of the account will do, or none is used."""

    def said(name: str) -> list[tuple[str, bool]]:
        config = reading(tmp_path, account("imap", f'provider = "{name}"')).config
        return [(sentence, is_of_no_use) for _, sentence, is_of_no_use in what_providers_take(config)]

    assert said("gmail") == [(PROVIDERS["gmail"].login, False)]
    assert said("outlook") == [("Outlook takes no passwords any more, only tokens of OAuth", True)]
    assert said("posteo") == []
    without = account("imap", 'provider = "gmail"').replace('password = "x"', 'client_cert = "ana.pem"')
    assert list(what_providers_take(reading(tmp_path, without).config)) == []


def test_domain_shows_the_provider() -> None:
    """Each domain is one provider's, whatever its letters."""
    domains = [domain for provider in PROVIDERS.values() for domain in provider.domains]
    assert len(domains) == len(set(domains))
    assert provider_of("ana@GoogleMail.com") == "gmail"
    assert provider_of("ana@example.org") is None
    assert provider_of("gmail.com@example.org") is None
