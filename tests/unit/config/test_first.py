"""A first configuration that is made of answers."""

import tomllib
from pathlib import Path

import pytest

from syncd.config.first import Answers, first_config
from syncd.values import replace
from tests.unit.config.builders import problems

ANA = Answers("imap", "imap.example.org", "ana", "work", "laptop", "mail", password_file="/run/secrets/work")


def text_of(answers: Answers, *, schema: Path | None = None, is_system: bool = False) -> str:
    return first_config(answers, schema=schema, is_system=is_system)


@pytest.mark.parametrize("kind", ["imap", "pop3"])
def test_every_line_that_is_only_a_hint_may_be_taken(tmp_path: Path, kind: str) -> None:
    """What a person finds commented works once it is not, alone or with all others."""
    lines = text_of(replace(ANA, kind=kind)).split("\n")
    hints = [index for index, line in enumerate(lines) if line.startswith("# ") and " = " in line]
    assert len(hints) == 5

    for taken in ([], hints, *([one] for one in hints)):
        text = "\n".join(line.removeprefix("# ") if index in taken else line for index, line in enumerate(lines))
        assert problems(tmp_path, text) == []


def test_provider_stands_in_place_of_its_server(tmp_path: Path) -> None:
    """The server can be read in a comment, which may be taken."""
    text = text_of(replace(ANA, host="posteo.de", provider="posteo"))

    assert tomllib.loads(text)["accounts"]["work"].keys() == {"type", "provider", "username", "password_file"}
    assert problems(tmp_path, text) == problems(tmp_path, text.replace("# host", "host")) == []
    assert tomllib.loads(text.replace("# host", "host"))["accounts"]["work"]["host"] == "posteo.de"


def test_command_that_prints_a_token_is_written_as_such(tmp_path: Path) -> None:
    """It is no password, and the file says so."""
    command = ("oama", "access", "ana@outlook.com")
    answers = replace(ANA, provider="outlook", password_file=None, token_command=command)
    text = text_of(answers)

    assert problems(tmp_path, text) == []
    account = tomllib.loads(text)["accounts"]["work"]
    assert account.keys() == {"type", "provider", "username", "token_command"}
    assert account["token_command"] == list(command)
    assert "# The first line that it prints is a token of OAuth:\n" in text


def test_application_that_asks_for_tokens_is_written_by_its_id(tmp_path: Path) -> None:
    """Its provider says the rest, and the file what to do next."""
    text = text_of(replace(ANA, provider="outlook", password_file=None, client_id='0-1"2'))

    assert problems(tmp_path, text) == []
    account = tomllib.loads(text)["accounts"]["work"]
    assert account.keys() == {"type", "provider", "username", "oauth"}
    assert account["oauth"] == {"client_id": '0-1"2'}
    assert "# The application that asks for tokens of OAuth, after syncd auth login work:\n" in text


def test_answers_are_what_the_file_says_whatever_is_in_them() -> None:
    """Quotes, backslashes and letters of any script are no syntax."""
    odd = 'a"b\\c\x7f\u00e9\U0001f600 = #'

    answers = replace(ANA, username=odd, path=f"~/{odd}", password_file=None, password_command=("pass", odd))
    written = tomllib.loads(text_of(answers))

    account = {"type": "imap", "host": "imap.example.org", "username": odd, "password_command": ["pass", odd]}
    assert written == {"accounts": {"work": account}, "devices": {"laptop": {"path": f"~/{odd}"}}}


def test_server_at_home_is_what_the_file_says(tmp_path: Path) -> None:
    """A Dovecot on this machine needs no edit."""
    text = text_of(replace(ANA, host="::1", port=1143, tls="none"))

    assert problems(tmp_path, text) == []
    account = tomllib.loads(text)["accounts"]["work"]
    assert (account["host"], account["port"], account["tls"]) == ("::1", 1143, "none")


def test_file_of_the_machine_names_the_places_of_the_service(tmp_path: Path) -> None:
    """Commands of a person find store and socket of the service by the file alone."""
    text = text_of(ANA, is_system=True)

    assert problems(tmp_path, text) == []
    written = tomllib.loads(text)
    assert written["store"]["url"] == "sqlite:////var/lib/syncd/syncd.db"
    assert written["daemon"]["socket"] == "/run/syncd/syncd.sock"


def test_editors_are_told_of_the_schema_by_the_first_line() -> None:
    """The line has no meaning to TOML, and editors look for it at the top."""
    assert text_of(ANA, schema=Path("/usr/share/a b.json")).split("\n")[0] == "#:schema file:///usr/share/a%20b.json"
    assert "#:schema" not in text_of(ANA)
