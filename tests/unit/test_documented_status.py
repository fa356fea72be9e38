"""What docs/commands.md says of `syncd status --json`, and of that of others, against the values that it is made of."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import get_args, get_type_hints

import pytest

from syncd.daemon.doctor.findings_json import DiagnosisAnswer, FindingAnswer
from syncd.daemon.people.answers import Event, PlanLine, PlanReport, PlanWait, RestoreLine, RestoreReport
from syncd.daemon.status.status import FORMAT, Status
from syncd.errors import Cause
from syncd.store.people.entries import Entry

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"


def keys_of(kind: type, path: str = "") -> Iterator[str]:
    """Yield the keys of the JSON of a dataclass, with those of what it holds."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        hint = hints[field.name]
        yield f"{path}{field.name}"
        inner = [one for one in (hint, *get_args(hint)) if is_dataclass(one)]
        mark = "[]" if Ellipsis in get_args(hint) else ""
        for one in inner:
            assert isinstance(one, type)
            assert {*get_args(hint)} <= {one, NoneType, Ellipsis}
            yield from keys_of(one, f"{path}{field.name}{mark}.")


def rows() -> dict[str, str]:
    """Return the keys that the page names, each with what it says of them."""
    found = re.findall(r"^\| (`[^|]*`) \| ([^|]+) \|$", section_of("status"), re.MULTILINE)
    return {key: text for keys, text in found for key in re.findall(r"`([^`]+)`", keys)}


def section_of(command: str) -> str:
    """Return what the page says of a command."""
    return PAGE.read_text().partition(f"\n## syncd {command}\n")[2].partition("\n## ")[0]


def documented_keys() -> frozenset[str]:
    """Return every key that the page names, such as `devices[].replicas[].mailbox`."""
    return frozenset(rows())


def test_page_names_exactly_the_keys_that_there_are() -> None:
    """Who reads them may rely on each, and misses none."""
    assert sorted(rows()) == sorted(keys_of(Status))


def test_page_names_the_format_and_every_cause() -> None:
    """The values that a program decides by."""
    told = rows()
    causes = set(re.findall(r"`(\w+)`", told["accounts[].cause"] + told["devices[].cause"]))

    assert told["format"].startswith(f"{FORMAT};")
    assert causes == {cause.value for cause in Cause}


@pytest.mark.parametrize(
    ("command", "kinds"),
    [
        ("plan", (PlanReport, PlanLine, PlanWait)),
        ("history", (Entry,)),
        ("events", (Event,)),
        ("restore", (RestoreReport, RestoreLine)),
        ("doctor", (DiagnosisAnswer, FindingAnswer)),
    ],
)
def test_page_names_every_key_of_other_commands(command: str, kinds: tuple[type, ...]) -> None:
    """In their sections, in text or table."""
    named = re.findall(r"`(?:\w+\[\]\.)?(\w+)`", section_of(command))

    assert {field.name for kind in kinds for field in fields(kind)} <= {*named}
