"""Unit tests for what all regular expressions of syncd have in common."""

import importlib
import pkgutil
import re

import syncd

_GROUP_KEPT_WHOLE = re.compile(r"(?<!\\)\)(?:[*+?]|\{\d*,?\d*\})\+")


def test_no_pattern_repeats_a_group_possessively() -> None:
    """Before Python 3.11.5, as of Debian 12, `(...)++` also takes a part of the repetition that does not match."""
    modules = [
        module.name for module in pkgutil.walk_packages(syncd.__path__, "syncd.") if "__main__" not in module.name
    ]

    patterns = {
        f"{name}.{key}": value.pattern if isinstance(value.pattern, str) else value.pattern.decode()
        for name in modules
        for key, value in vars(importlib.import_module(name)).items()
        if isinstance(value, re.Pattern)
    }

    assert "syncd.imap.tokenizer._PLAIN" in patterns
    assert [name for name, pattern in patterns.items() if _GROUP_KEPT_WHOLE.search(pattern)] == []
