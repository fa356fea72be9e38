"""What `--help` shows, and what is said of a number that is none."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from syncd.cli.app import app


def helps() -> Iterator[tuple[str, str]]:
    """Yield the help of each command by its words."""
    waiting: list[tuple[Any, tuple[str, ...]]] = [(typer.main.get_command(app), ())]
    for command, words in waiting:
        waiting += [(one, (*words, name)) for name, one in getattr(command, "commands", {}).items()]
        yield " ".join(words), CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80"}).stdout


def test_help_is_whole_and_speaks_no_python() -> None:
    """No line is cut short, and no type or inequality stands where a name would do."""
    found = dict(helps())

    assert len(found) > 20
    for words, text in found.items():
        assert text, words
        assert re.findall(r"<\w|[<>]=|\[\[|\w\.\.\.$", text, re.MULTILINE) == [], words
    assert "sync [OPTIONS] [ACCOUNT]...\n" in found["sync"]
    assert "holds show [OPTIONS] ID\n" in found["holds show"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["holds", "show", "x"], "'ID': should be a number from 1 on"),
        (["holds", "release", "1", "0"], "'ID': should be a number from 1 on"),
        (["history", "--limit", "0"], "'--limit': should be a number between 1 and 10,000"),
        (["history", "--limit", "10001"], "'--limit': should be a number between 1 and 10,000"),
    ],
)
def test_number_that_is_none_is_told_in_words(words: list[str], told: str) -> None:
    """A person reads what it should be, and exit code 2."""
    ended = CliRunner().invoke(app, words)

    assert ended.exit_code == 2
    assert told in ended.output
