"""The JSON schema of the configuration says what the reader says."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from syncd.config.accounts import ImapConfig, Pop3Config
from syncd.config.availability import NOT_YET, unavailable
from syncd.config.model import Config, DaemonConfig, DeviceConfig, GuardConfig, HooksConfig, StoreConfig
from syncd.config.sources import default_values, merged
from syncd.config.table import keys_of
from tests.reference.config_page import EXAMPLE
from tests.reference.schema import config_schema, table_of
from tests.unit.config import test_example
from tests.unit.config.builders import problems

SCHEMA = config_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
ACCOUNT = {"host": "h", "username": "ana", "password": "secret"}
GOOD: dict[str, Any] = {
    "store": {},
    "accounts": {"work": {"type": "imap"} | ACCOUNT, "isp": {"type": "pop3"} | ACCOUNT},
    "devices": {"laptop": {"path": "laptop"}},
    "guard": {},
    "hooks": {},
    "daemon": {},
}
TABLES = {
    ("store",): StoreConfig,
    ("accounts", "work"): ImapConfig,
    ("accounts", "isp"): Pop3Config,
    ("devices", "laptop"): DeviceConfig,
    ("guard",): GuardConfig,
    ("hooks",): HooksConfig,
    ("daemon",): DaemonConfig,
}
VALUES = tomllib.loads(
    """
    values = [
        0, -1, 25, 70000, 0.2, 1.5, true, {}, [], ["a"], [""], [1], ["!"], ["!Junk", "*"],
        "", "a", "a b", "two\\nlines", "\\u0000", "/a", "~/a", "work/INBOX",
        "imap", "pop3", "none", "starttls", "fs", "poll", "json", "debug", "trash", "expunge", "forever",
        "1s", "0s", " 5 m ", "5M", "250ms", "0.0s", "0d", "25MB", "0GiB", "10 kib", "1e3B",
        "sqlite:///a", "sqlite:///:memory:", "sqlite:///a?b", "postgresql://ana@h/db", "postgresql://ana@h/",
        "127.0.0.1:9464", "[::1]:1", "127.0.0.1",
    ]
    """
)["values"]


def only(path: tuple[str, ...], key: str, value: object) -> dict[str, Any]:
    """Return a good configuration of one table, but for what one key is set to."""
    table = GOOD
    for step in path:
        table = table[step]
    changed = table | {key: value}
    for step in reversed(path):
        changed = {step: changed}
    return changed


def by_models(document: dict[str, Any]) -> bool:
    """Tell whether the reader would have no problem with a key, tables looked at one by one."""
    try:
        Config.model_validate(merged(default_values({"HOME": "/"}), document), context=Path("/"))
    except ValidationError:
        return False
    return not list(unavailable(document))


def test_schema_is_one() -> None:
    """It keeps the rules of its own language."""
    Draft202012Validator.check_schema(SCHEMA)


def test_schema_and_reader_agree_on_every_key_with_any_value() -> None:
    """What the schema takes the reader takes, and the other way round.

    Of numbers and truth values the reader takes more, for variables can only be texts.
    """
    assert (VALIDATOR.is_valid(GOOD), by_models(GOOD)) == (True, True)
    wrong = []
    for path, model in TABLES.items():
        for key in (*keys_of(model), "unknown"):
            for value in VALUES:
                document = only(path, key, value)
                said, read = VALIDATOR.is_valid(document), by_models(document)
                if said > read or (read > said and not isinstance(value, int | float)):
                    wrong.append(f"{'.'.join(path)}.{key} = {value!r}: schema {said}, reader {read}")
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("[gaurd]", False),
        ('[accounts."a b"]\ntype = "imap"\nhost = "h"\nusername = "ana"', False),
        ('[accounts.work]\nhost = "h"\nusername = "ana"', False),
        ('[accounts.work]\ntype = "imap"\nhost = "h"\nusername = "ana"', True),
        ('[accounts.work]\ntype = "imap"\nhost = "h"\nusername = "ana"\npassword = "a"\npassword_file = "b"', False),
        ('[accounts.work]\ntype = "imap"\nhost = "h"\nusername = "ana"\nmax_message_size = "1MB"', False),
        ('[accounts.work]\ntype = "pop3"\nhost = "h"\nusername = "ana"\nmailboxes = ["*"]', False),
        ("[devices.laptop]", False),
    ],
)
def test_file_is_judged_as_one_part_of_what_is_said(text: str, expected: bool) -> None:
    """Nothing is missing that may come from elsewhere, such as a password; all else is."""
    assert VALIDATOR.is_valid(tomllib.loads(text)) == expected


def test_what_is_shipped_as_an_example_is_good(tmp_path: Path) -> None:
    """Also with every key of it that is commented and available."""
    indexes = test_example.commented(available=True)

    assert problems(tmp_path, EXAMPLE) == []
    for text in (EXAMPLE, test_example.TEXT, test_example.with_lines(indexes)):
        assert list(VALIDATOR.iter_errors(tomllib.loads(text))) == []


def test_every_key_is_explained_and_none_that_is_refused() -> None:
    """An editor offers what works, with its meaning."""
    refused = {key[-1] for key in NOT_YET}
    for path, model in TABLES.items():
        properties = table_of(SCHEMA, path[0])["properties"]
        assert set(keys_of(model)) - refused <= properties.keys()
        assert properties.keys() & refused == set()
        assert all(value["description"].endswith(".") for value in properties.values())
