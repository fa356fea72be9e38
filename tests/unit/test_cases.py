"""The table of cases is whole, and true about the tests that it names."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

TESTS = Path(__file__).resolve().parents[1]
TABLE = TESTS / "cases.md"
CASES = tuple(f"{kind}{number:02}" for kind, last in (("F", 50), ("B", 33), ("S", 25)) for number in range(1, last + 1))
_TEST = re.compile(r"`([^`]+\.py)::(\w+)`")
_OPEN = "none yet: "


class Row(NamedTuple):
    """One case, in words, and what proves it, or why nothing does."""

    case: str
    words: str
    tests: str


def rows_of(text: str) -> list[Row]:
    """Return the rows of the tables in a text, without their heads."""
    cells = ([cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|"))
    return [Row(*row) for row in cells if row[0] != "id" and set(row[0]) != {"-"}]


def problems(row: Row) -> list[str]:
    """Return what is wrong with a row."""
    named, is_open, reason = row.tests.partition(_OPEN)
    tests = _TEST.findall(named)
    wrong = [f"there is no test {path}::{test}" for path, test in tests if test not in defined_in(TESTS / path)]
    if not row.words:
        wrong.append("the case is not told")
    if not tests and not is_open:
        wrong.append("there is neither a test nor a reason why there is none")
    if _TEST.sub("", named).strip(",; "):
        wrong.append("between the tests stands what is none")
    if is_open and not reason.strip():
        wrong.append("there is no reason")
    return wrong


@cache
def defined_in(path: Path) -> frozenset[str]:
    """Return the tests at the top of a file, those of state machines included; none if there is no file."""
    if not path.is_file():
        return frozenset()
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return frozenset(name for name in names if name.startswith(("test_", "Test")))


def test_every_case_has_one_row_in_order() -> None:
    """No case is forgotten, and none is told twice."""
    assert tuple(row.case for row in rows_of(TABLE.read_text())) == CASES


@pytest.mark.parametrize("row", rows_of(TABLE.read_text()), ids=lambda row: row.case)
def test_row_names_tests_that_exist_or_a_reason(row: Row) -> None:
    """A test that is renamed or removed is noticed in the row that counted on it."""
    assert problems(row) == []


@pytest.mark.parametrize(
    "line",
    [
        "| F01 | a case | `unit/test_cases.py::test_that_is_not_there` |",
        "| F01 | a case | `unit/test_nowhere.py::test_every_case_has_one_row_in_order` |",
        "| F01 | a case | `unit/test_cases.py::problems` |",
        "| F01 | a case | some test |",
        "| F01 | a case | `unit/test_cases.py::test_every_case_has_one_row_in_order` and more |",
        "| F01 | a case | none yet:  |",
        "| F01 | a case | |",
        "| F01 | | none yet: it comes later |",
    ],
)
def test_false_row_is_noticed(line: str) -> None:
    """The judge above is awake."""
    (row,) = rows_of(line)

    assert problems(row)
