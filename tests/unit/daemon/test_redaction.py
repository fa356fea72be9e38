"""Secrets and control characters never get through."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.daemon.process.redaction import REDACTED, Secrets


@given(
    before=st.binary(max_size=7),
    secret=st.text(st.characters(codec="utf-8"), min_size=8, max_size=30),
    after=st.binary(max_size=7),
)
def test_secret_is_found_in_every_base64_that_contains_it(before: bytes, secret: str, after: bytes) -> None:
    """Wherever it stands among other octets, no more is left of it than the characters that it shares with them."""
    secrets = Secrets()
    secrets.add(secret)
    encoded = base64.b64encode(before + secret.encode() + after).decode()

    shown = secrets.redacted(f"sent {encoded} to the server")

    assert REDACTED in shown
    left = shown.split()[1].replace(REDACTED, "")
    assert len(left) <= len(base64.b64encode(before)) + len(base64.b64encode(after)) + 4


@pytest.mark.parametrize(
    "value",
    ["a s3cr3t-value", ["s3cr3t-value"], ("x", {"deep": "s3cr3t-value"}), b"s3cr3t-value", ValueError("s3cr3t-value")],
)
def test_secret_is_found_inside_any_value(value: object) -> None:
    """Lists, mappings, octets and exceptions are looked into."""
    secrets = Secrets()
    secrets.add("s3cr3t-value")

    shown = secrets.cleaned("data", value)

    assert "s3cr3t-value" not in str(shown)
    assert REDACTED in str(shown)


@pytest.mark.parametrize("key", ["password", "Password", "oauth_token", "client_secret", "Authorization", "api_key"])
def test_value_of_a_key_that_is_named_like_a_secret_is_not_shown(key: str) -> None:
    """Also when nobody said what the secret is."""
    secrets = Secrets()

    assert secrets.cleaned(key, "hunter2") == REDACTED
    assert secrets.cleaned("request", {key: "hunter2", "user": "x"}) == {key: REDACTED, "user": "x"}


def test_short_secret_does_not_make_every_word_unreadable() -> None:
    """A password of one letter cannot be searched for."""
    secrets = Secrets()
    secrets.add("a")

    assert secrets.redacted("an account") == "an account"


def test_secret_with_special_characters_is_taken_literally() -> None:
    """A password is no pattern; of two secrets the longer one goes first."""
    secrets = Secrets()
    secrets.add("a.c(")
    secrets.add("a.c(and more")

    assert secrets.redacted("abc( a.c( a.c(and more") == f"abc( {REDACTED} {REDACTED}"


def test_text_cannot_move_the_cursor_or_forge_a_line() -> None:
    """Control characters are shown as escapes; each line of a traceback is indented."""
    secrets = Secrets()

    assert secrets.cleaned("error", "no\n\x1b[2Jlevel=info") == "no\\n\\x1b[2Jlevel=info"
    assert secrets.cleaned_lines("Traceback\nValueError: \x1b]0;x\x07") == "  Traceback\n  ValueError: \\x1b]0;x\\x07"
    assert secrets.cleaned("count", 3) == 3


def test_forgotten_secret_takes_no_other_with_it() -> None:
    """Also where they begin alike, or where one is known twice, as to two accounts."""
    secrets = Secrets()
    secrets.add("token-one")
    secrets.add("token-two")
    secrets.add("token-two")

    secrets.discard("token-two")
    assert secrets.redacted("token-one token-two") == f"{REDACTED} {REDACTED}"
    secrets.discard("token-two")
    assert secrets.redacted("token-one token-two") == f"{REDACTED} token-two"
    secrets.discard("token-one")

    assert vars(secrets) == vars(Secrets())
    assert secrets.redacted("token-one") == "token-one"
