"""The pages of the manual, judged by the roff that is here, and read as a person reads them."""

import re
import shutil
import subprocess

import pytest

from tests.reference.__main__ import SHARE, made, stale
from tests.reference.commands import all_of, program
from tests.reference.roff import example, item, page, paragraph

PAGES = {path.name: text for path, text in made().items() if path.parts[0] == "man"}
NASTY = '\'tis \\n a .dot, -n, --all, \\fB, "quoted", ~/x, a^b, $HOME, 50 %'


def rendered(text: str) -> str:
    """Return a page as a terminal shows it; AssertionError with what roff has to say against it."""
    if shutil.which("groff"):
        command = ["groff", "-ww", "-mandoc", "-Tutf8", "-P-cbou", "-rLL=200n"]
    elif shutil.which("mandoc"):
        command = ["mandoc", "-Tutf8", "-Wwarning", "-Owidth=200"]
    else:
        pytest.skip("neither groff nor mandoc is installed, so nobody here can judge a page of the manual")
    shown = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    complaints = [line for line in shown.stderr.splitlines() if "missing date" not in line]
    assert (shown.returncode if command[0] == "groff" else 0, complaints) == (0, [])
    return re.sub(r".\x08", "", shown.stdout)


@pytest.mark.parametrize("name", PAGES)
def test_page_is_one_that_roff_does_not_complain_of(name: str) -> None:
    """It can be shown on every system, and begins with its name for apropos."""
    shown = rendered(PAGES[name])

    title = name.rpartition(".")[0]
    assert re.search(rf"NAME\n +{re.escape(title)} - \w", shown)


def test_text_comes_out_as_it_went_in() -> None:
    """Nothing that a help text may contain is a command of roff."""
    parts = [paragraph(NASTY), item(f"`{NASTY}`", NASTY), example(NASTY)]

    shown = rendered(page("x", 1, of="y", version="z", body=parts))

    assert shown.count(NASTY) == 4


def test_every_command_and_option_is_in_the_page() -> None:
    """Nothing that can be typed is left out, and nothing that is hidden is in it."""
    shown = rendered(PAGES["syncd.1"])
    for command in all_of(program()):
        assert command.needs_command or not command.words or f" syncd {' '.join(command.words)}" in shown
        for option in command.options:
            assert all(name in shown for name in option.names)
    assert "syncd names" not in shown


def test_file_that_is_not_as_it_would_be_made_is_noticed() -> None:
    """So is one that nobody makes any more."""
    files = {path.relative_to(SHARE): path.read_text("utf-8") for path in SHARE.rglob("*") if path.is_file()}
    first, second, *_ = sorted(files)

    assert stale(files) == []
    changed = {first: files[first] + "\n"} | {path: files[path] for path in files if path not in (first, second)}
    assert stale(changed) == [first, second]
