"""What all regular expressions of syncd have in common."""

import ast
import re
from pathlib import Path

import syncd

_GROUP_KEPT_WHOLE = re.compile(r"(?<!\\)\)(?:[*+?]|\{\d*,?\d*\})\+")


def _patterns(path: Path) -> list[str]:
    """Return the texts of a module that have a group as we write them."""
    values = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
    texts = (str(one, "latin-1") if isinstance(one, bytes) else one for one in values if isinstance(one, str | bytes))
    return [text for text in texts if "(?" in text]


def test_no_pattern_repeats_a_group_possessively() -> None:
    """Before Python 3.11.5, as of Debian 12, `(...)++` also takes a part of the repetition that does not match."""
    assert _GROUP_KEPT_WHOLE.search(r"(?:a b)++")
    sources = {
        path: _patterns(path) for path in Path(syncd.__path__[0]).rglob("*.py") if "_migrations" not in path.parts
    }

    assert sum(map(len, sources.values())) > 10
    assert [path.name for path, texts in sources.items() if any(map(_GROUP_KEPT_WHOLE.search, texts))] == []
