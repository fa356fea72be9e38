"""The example configuration, which people copy."""

import re
from pathlib import Path

import pytest

from syncd.config.accounts import ImapConfig, Pop3Config
from syncd.config.availability import REFUSAL
from syncd.config.model import Config, DaemonConfig, DeviceConfig, GuardConfig, HooksConfig, StoreConfig
from syncd.config.table import keys_of
from tests.unit.config.builders import problems

TEXT = (Path(__file__).parents[3] / "deploy" / "syncd.example.toml").read_text("utf-8")
LINES = TEXT.split("\n")
COMMENTED = re.compile(r"# ([a-z0-9_]+) = ")
WAYS_TO_LOG_IN = ("password", "password_file", "password_command", "token_command", "oauth")


def commented(*, available: bool) -> list[int]:
    """Return the indexes of the commented keys, those below `# Not yet:` or the others."""
    found, not_yet = [], False
    for index, line in enumerate(LINES):
        not_yet = line == "# Not yet:" or (not_yet and line.startswith("# "))
        if COMMENTED.match(line) and not_yet != available:
            found.append(index)
    return found


def with_lines(indexes: list[int]) -> str:
    """Return the example with these lines uncommented; a way to log in replaces the one before it."""
    lines = list(LINES)
    for index in indexes:
        lines[index] = lines[index].removeprefix("# ")
        if lines[index].partition(" ")[0] in WAYS_TO_LOG_IN:
            active = max(at for at in range(index) if lines[at].partition(" ")[0] in WAYS_TO_LOG_IN)
            lines[active] = f"# {lines[active]}"
    return "\n".join(lines)


def test_example_is_a_good_configuration(tmp_path: Path) -> None:
    """What is shipped as an example loads as it is."""
    assert problems(tmp_path, TEXT) == []


def test_example_with_every_available_key_is_a_good_configuration(tmp_path: Path) -> None:
    """Every commented key that is not marked can be uncommented, alone or with all others."""
    indexes = commented(available=True)
    assert len(indexes) > 20

    assert problems(tmp_path, with_lines(indexes)) == []
    for index in indexes:
        assert problems(tmp_path, with_lines([index])) == [], LINES[index]


@pytest.mark.parametrize("index", commented(available=False), ids=lambda index: LINES[index][2:20].split()[0])
def test_key_marked_not_yet_is_refused_as_not_available(tmp_path: Path, index: int) -> None:
    """The example says the truth about what this version cannot do, and shows it in a form that parses."""
    (line,) = problems(tmp_path, with_lines([index]))

    assert f"syncd.toml:{index + 1}: " in line
    assert REFUSAL in line


def test_example_shows_every_key() -> None:
    """The example is the whole contract."""
    tables = (Config, StoreConfig, ImapConfig, Pop3Config, DeviceConfig, GuardConfig, HooksConfig, DaemonConfig)
    shown = set(re.findall(r"^(?:# )?([a-z0-9_]+) = ", TEXT, re.MULTILINE))
    shown |= set(re.findall(r"^\[([a-z]+)", TEXT, re.MULTILINE))

    assert set() == {key for table in tables for key in keys_of(table)} - shown
