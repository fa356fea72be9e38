"""Keys of the contract whose feature does not exist yet."""

from pathlib import Path

import pytest

from syncd.config.availability import NOT_YET
from syncd.config.model import table_at
from syncd.config.table import keys_of
from tests.unit.config.builders import IMAP, LAPTOP, POP3, problems

BASE = IMAP + POP3 + LAPTOP


def with_key(table: str, line: str) -> str:
    """Return a good configuration with one more line in one of its tables."""
    header = f"[{table}]\n"
    return BASE.replace(header, f"{header}{line}\n") if header in BASE else f"{BASE}{header}{line}\n"


def test_key_without_its_feature_is_an_error_that_says_so(tmp_path: Path) -> None:
    """A person who relies on a feature learns at once that it is not there."""
    line = 'forward_to = "work/INBOX"'
    text = with_key("accounts.isp", line)
    number = text.split("\n").index(line) + 1

    (report,) = problems(tmp_path, text)

    assert report.startswith(
        f"syncd.toml:{number}: accounts.isp.forward_to: not available in this version of syncd; remove the key"
    )


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("store", 'retention = "7d"'),
        ("accounts.isp", 'keep = "0d"'),
        ("accounts.isp", 'keep = "14d"'),
        ("accounts.isp", 'keep = "forever"'),
        ("accounts.work", 'delete = "trash"'),
        ("accounts.work", 'delete = "expunge"'),
        ("devices.laptop", 'settle = "10s"'),
        ("devices.laptop", "read_only = true"),
        ("hooks", 'on_new_mail = ["notmuch", "new"]'),
    ],
)
def test_key_that_asks_for_nothing_more_is_fine(tmp_path: Path, table: str, line: str) -> None:
    """A value that says what happens anyway is no error."""
    assert problems(tmp_path, with_key(table, line)) == []


@pytest.mark.parametrize("key", NOT_YET, ids=".".join)
def test_every_row_names_a_key_of_the_contract(key: tuple[str, ...]) -> None:
    """A row with a typing slip would let its key through."""
    assert any(key[-1] in keys_of(table) for table in table_at(key[:-1], {}))
