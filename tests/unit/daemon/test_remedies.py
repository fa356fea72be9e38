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


@pytest.mark.parametrize(
    ("table", "cause", "error", "remedy"),
    [
        (IMAP, Cause.UNTRUSTED, "not trusted", "check host, port and tls of [accounts.work]; for a certificate of its"),
        (IMAP + PIN, Cause.UNTRUSTED, "not the pinned one", "compare with what whoever runs the server says, then set"),
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
