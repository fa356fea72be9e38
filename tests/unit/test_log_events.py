"""Every event of the log has one name, which says what happened and is explained in docs/log.md."""

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
METHODS = {name: {name} for name in ("debug", "info", "warning", "error")} | {"exception": {"error"}, "log": set()}
"""By the method that logs, with which level; `log` is told that as it happens."""
PAST = re.compile(
    r"[a-z]+ed|became|began|bound|came|cut|fell|found|given|held|left|lost|made|put|rewritten|sent|swept|taken|went"
)


def events() -> dict[str, set[str]]:
    """Return the levels of each event in the source; the name must stand there, or nobody finds it."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted((ROOT / "syncd").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=level)) if level in METHODS:
                    name = node.args[1 if level == "log" else 0]
                    assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: the event is made up as it happens"
                    found[name.value] |= METHODS[level]
    return found


def explained() -> dict[str, set[str]]:
    """Return the levels of each event in the documentation."""
    table = (ROOT / "docs" / "log.md").read_text().partition("\n## Events\n")[2]
    rows = re.findall(r"^\| `(\w+)` \| ([a-z, ]+) \| .+ \|$", table, re.MULTILINE)
    return {name: set(levels.split(", ")) for name, levels in rows}


def test_name_of_an_event_says_what_happened() -> None:
    """Words with underscores, one of them in the past."""
    names = events()

    assert [name for name in names if not re.fullmatch(r"[a-z]+(_[a-z]+)+", name)] == []
    assert [name for name in names if not any(map(PAST.fullmatch, name.split("_")))] == []


def test_every_event_is_explained_and_no_other() -> None:
    """Whoever greps the log for an event finds what it means."""
    logged, told = events(), explained()

    assert sorted(logged.keys() ^ told.keys()) == []
    assert [name for name, levels in logged.items() if not levels <= told[name]] == []
