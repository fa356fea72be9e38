"""What a person is told to do for an account whose trust, or whose own certificate, is the trouble."""

from pathlib import Path

import pytest

from syncd.daemon.status.remedies import account_remedy
from syncd.errors import Cause
from tests.unit.config.builders import IMAP, LAPTOP, reading

WITHOUT_PASSWORD = IMAP.replace('password = "correct horse"\n', "")
PIN = f'pin_sha256 = "{"00" * 32}"\n'
CERTIFICATE = 'client_cert = "ana.pem"\n'
UNUSABLE = "the file of client_cert cannot be used: permission denied"
UNWANTED = "the server wants a certificate of ours that it accepts (client_cert)"
NOT_PINNED = f"the server's certificate is not the pinned one: expected {'00' * 32}, came {'11' * 32}; waiting does not"
NOT_ENCRYPTED = "the server does not offer encryption on this port; waiting does not help"
NO_PROOF = "the server did not prove itself at login; waiting does not help"
NO_PROOF_REMEDY = (
    "it may not be your server: check host of [accounts.work], and ask whoever runs it; then: syncd sync work"
)


@pytest.mark.parametrize(
    ("table", "cause", "error", "remedy"),
    [
        (IMAP, Cause.UNTRUSTED, "not trusted", "check host, port and tls of [accounts.work]; for a certificate of its"),
        (IMAP + PIN, Cause.UNTRUSTED, NOT_PINNED, "compare with what whoever runs the server says, then set"),
        (IMAP + PIN, Cause.UNTRUSTED, NOT_ENCRYPTED, "check host, port and tls of [accounts.work]; then: syncd sync"),
        (IMAP, Cause.UNTRUSTED, NOT_ENCRYPTED, "check host, port and tls of [accounts.work]; then: syncd sync"),
        (IMAP + PIN, Cause.UNTRUSTED, NO_PROOF, NO_PROOF_REMEDY),
        (IMAP, Cause.UNTRUSTED, NO_PROOF, NO_PROOF_REMEDY),
        (IMAP + CERTIFICATE, Cause.UNTRUSTED, UNWANTED, "see that client_cert of [accounts.work] is the one that the"),
        (IMAP + PIN + CERTIFICATE, Cause.UNTRUSTED, UNWANTED, "see that client_cert of [accounts.work] is the one"),
        (IMAP + CERTIFICATE, Cause.NO_PASSWORD, UNUSABLE, "see that client_cert of [accounts.work] works for the user"),
        (IMAP + CERTIFICATE, Cause.NO_PASSWORD, "password is empty", "see that password of [accounts.work] works for"),
        (WITHOUT_PASSWORD + CERTIFICATE, Cause.NO_PASSWORD, None, "see that client_cert of [accounts.work] works for"),
        (WITHOUT_PASSWORD + CERTIFICATE, Cause.LOGIN_REFUSED, None, "check username and client_cert of [accounts.wor"),
        (IMAP + CERTIFICATE, Cause.LOGIN_REFUSED, None, "check username and password of [accounts.work]; many prov"),
    ],
)
def test_remedy_names_the_key_that_it_is_about(
    tmp_path: Path, table: str, cause: Cause, error: str | None, remedy: str
) -> None:
    """Where there are several ways to be trusted, or to log in, the right one is to be looked at."""
    account = reading(tmp_path, table + LAPTOP).config.accounts["work"]

    told = account_remedy(cause, "work", account, error=error)

    assert told is not None
    assert told.startswith(remedy)


@pytest.mark.parametrize(
    ("cause", "error", "is_lasting", "remedy"),
    [
        (Cause.NO_ACCESS, "nobody has logged in at its provider yet", True, "syncd auth login work"),
        (
            Cause.LOGIN_REFUSED,
            "no",
            True,
            "check username of [accounts.work], and log in as that one: syncd auth login",
        ),
        (Cause.NO_PASSWORD, "the key /k is damaged", True, "see what it says, and whether key_file of [store]"),
        (
            Cause.NO_PASSWORD,
            "the key /k cannot be read: permission denied",
            False,
            "see what it says, and whether key_file of [store]",
        ),
        (
            Cause.NO_PASSWORD,
            "it does not know this client_id",
            True,
            "see what it says, and oauth of [accounts.work]; then",
        ),
        (Cause.NO_PASSWORD, "it answers with status 503", False, "it is tried again by itself"),
    ],
)
def test_trouble_with_tokens_is_told_by_what_ends_it(
    tmp_path: Path, cause: Cause, error: str, is_lasting: bool, remedy: str
) -> None:
    """Nobody logs in again where that ends nothing."""
    oauth = 'provider = "gmail"\nusername = "ana"\noauth = { client_id = "x" }'
    account = reading(tmp_path, f'[accounts.work]\ntype = "imap"\n{oauth}\n{LAPTOP}').config.accounts["work"]

    told = account_remedy(cause, "work", account, error=error, is_lasting=is_lasting)

    assert told is not None
    assert told.startswith(remedy)


@pytest.mark.parametrize(
    ("provider", "login", "remedy"),
    [
        (
            "outlook",
            'password = "x"',
            "Outlook takes no passwords any more, only tokens of OAuth: set oauth or token_command of [accounts.work]"
            " in place of password",
        ),
        (
            "outlook",
            'token_command = ["pizauth", "show", "work"]',
            "check username and token_command of [accounts.work]; its token should be one for mail of this user",
        ),
        (
            "fastmail",
            'password = "x"',
            "check username and password of [accounts.work]; Fastmail takes an app password, and not the password of"
            " the account",
        ),
        ("posteo", 'password = "x"', "check username and password of [accounts.work]"),
    ],
)
def test_refused_login_is_told_what_its_provider_takes(tmp_path: Path, provider: str, login: str, remedy: str) -> None:
    """Where that is known nothing is said of what many others want."""
    text = f'[accounts.work]\ntype = "imap"\nprovider = "{provider}"\nusername = "ana"\n{login}\n{LAPTOP}'
    account = reading(tmp_path, text).config.accounts["work"]

    assert account_remedy(Cause.LOGIN_REFUSED, "work", account) == f"{remedy}; then: syncd sync work"
