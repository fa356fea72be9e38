"""Lines for people."""

from syncd.cli.terminal import aligned


def test_columns_are_as_wide_as_a_terminal_shows_their_cells() -> None:
    """Mailboxes have names in any script: some letters take two places, and some none."""
    rows = [("mailbox", "what"), ("\u4e0b\u66f8\u304d", "deliver"), ("e\u0301tude", "remove"), ("INBOX", "rename")]

    assert aligned(rows) == [
        "mailbox  what",
        "\u4e0b\u66f8\u304d   deliver",
        "e\u0301tude    remove",
        "INBOX    rename",
    ]
