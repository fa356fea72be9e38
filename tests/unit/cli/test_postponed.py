"""What stands in for `importlib.metadata`: whoever wants the module itself has it, however they ask."""

import subprocess
import sys

import pytest

CODE = """
import sys
from syncd.cli.postponed import postpone_metadata
before = set(sys.modules)
postpone_metadata()
{asked}
assert ("email.message" in sys.modules) is {is_loaded}, sorted(set(sys.modules) - before)
"""


@pytest.mark.parametrize(
    "asked",
    [
        "import importlib.metadata; importlib.metadata.version('msgspec')",
        "import importlib.metadata as it; it.version('msgspec')",
        "from importlib import metadata; metadata.version('msgspec')",
        "from importlib.metadata import version; version('msgspec')",
        "from importlib.metadata import entry_points; entry_points(group='console_scripts')",
        "import importlib.metadata as it; it.version; import importlib.metadata; assert importlib.metadata is not it",
        "import importlib; importlib.import_module('importlib.metadata').version('msgspec')",
    ],
)
def test_metadata_is_there_for_who_uses_it(asked: str) -> None:
    """The stand-in gives way to the module as soon as one thing in it is used."""
    ended(asked, is_loaded=True)


@pytest.mark.parametrize(
    "asked",
    ["import importlib.metadata", "from importlib import metadata", "from importlib.metadata import entry_points"],
)
def test_metadata_is_not_loaded_for_who_only_names_it(asked: str) -> None:
    """Most programs import it in case somebody asks for a plugin."""
    ended(asked, is_loaded=False)


def ended(asked: str, *, is_loaded: bool) -> None:
    """Run this in a Python of its own."""
    code = CODE.format(asked=asked, is_loaded=is_loaded)
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)
