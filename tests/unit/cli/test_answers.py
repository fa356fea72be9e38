"""What may be answered to the question for a server."""

import pytest
import typer

from syncd.cli.commands.answers import Server, server_of


@pytest.mark.parametrize(
    ("text", "provider", "host", "username"),
    [
        ("gmail", "gmail", "imap.gmail.com", None),
        ("GMail", "gmail", "imap.gmail.com", None),
        ("web.de", "web.de", "imap.web.de", None),
        ("ana@web.de", "web.de", "imap.web.de", "ana"),
        ("imap.gmail.com", None, "imap.gmail.com", None),
    ],
)
def test_name_of_a_provider_is_the_provider(text: str, provider: str | None, host: str, username: str | None) -> None:
    """As in the configuration; of an address the user name is known as well."""
    found = server_of(text, kind="imap")

    assert (found.provider, found.host, found.username) == (provider, host, username)
    assert (found.login != "") == (provider is not None)


def test_provider_that_takes_only_tokens_is_told_apart() -> None:
    """Nobody is asked for a password there."""
    assert server_of("ana@outlook.com", kind="imap").has_tokens_only
    assert not server_of("ana@gmail.com", kind="imap").has_tokens_only
    assert not Server("imap.example.org").has_tokens_only


@pytest.mark.parametrize("text", ["@gmail.com", "@web.de"])
def test_domain_alone_is_no_address(text: str) -> None:
    """It would be taken for the user name."""
    with pytest.raises(typer.BadParameter, match="before the @"):
        server_of(text, kind="imap")


def test_provider_by_name_says_that_it_has_no_pop3() -> None:
    """As it does of an address."""
    with pytest.raises(typer.BadParameter, match="no POP3"):
        server_of("icloud", kind="pop3")
