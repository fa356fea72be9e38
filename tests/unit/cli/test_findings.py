"""How findings are shown."""

import io

from rich.console import Console

from syncd.cli.screen.findings import show, summary
from syncd.daemon.doctor.findings import Diagnosis, error, note, ok

FOUND = Diagnosis(
    0.0,
    "/c/f",
    is_usable=True,
    is_offline=False,
    findings=(ok("disk", "/", "room"), note("x", "[red]y", "z"), error("login", "accounts.work", "NO \x1b[2J", "try")),
)


def shown(*, shows_all: bool, is_terminal: bool = False) -> str:
    output = io.StringIO()
    console = Console(file=output, force_terminal=is_terminal, width=60, color_system=None, highlight=False)
    show(FOUND, shows_all=shows_all, console=console)
    return output.getvalue()


def test_what_is_wrong_is_shown_with_what_to_do_and_escaped() -> None:
    """What is well is counted; words of a server move no cursor, and our own markup means nothing in them."""
    assert shown(shows_all=False) == (
        "note     [red]y: z\n"
        "error    accounts.work: NO \\x1b[2J\n"
        "         > try\n"
        "1 error, no warnings, 1 note; 1 check well\n"
    )


def test_all_is_shown_if_wanted_and_escaped_in_a_terminal() -> None:
    """Where it is also broken into lines."""
    text = shown(shows_all=True, is_terminal=True)

    assert "ok       /" in text
    assert "NO \\x1b[2J" in text
    assert "\x1b" not in text


def test_what_was_not_looked_at_is_said() -> None:
    """No summary pretends."""
    assert summary(Diagnosis(0.0, "/c/f", True, True, ())).endswith("; the servers were not asked")
    assert summary(Diagnosis(0.0, "/c/f", False, False, ())).endswith("most was not looked at")
