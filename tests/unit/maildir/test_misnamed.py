"""Directories that no mailbox can be called are shown with what to do."""

import os
from pathlib import PurePosixPath

import pytest

from syncd.maildir.naming.layout import Fs, Layout, MaildirPlusPlus
from syncd.maildir.naming.misnamed import Misnamed, misnamed

NO_NAME = "give it a name like those beside it, or move it elsewhere"


@pytest.mark.parametrize(
    ("layout", "name", "directory", "expected"),
    [
        (
            MaildirPlusPlus(),
            "maildir++",
            ".work.Entwürfe".encode(),
            Misnamed(
                ".work.Entwürfe",
                "in layout maildir++ it would be called .work.Entw&APw-rfe",
                "mv '.work.Entwürfe' '.work.Entw&APw-rfe'",
            ),
        ),
        (
            MaildirPlusPlus(),
            "maildir++",
            b".work.Entw\xfcrfe",
            Misnamed(
                ".work.Entw\\xfcrfe", "its name is no UTF-8", "rename it in UTF-8, as convmv does, or move it elsewhere"
            ),
        ),
        (
            Fs(),
            "fs",
            b"work/Entw\xfcrfe",
            Misnamed(
                "work/Entw\\xfcrfe", "its name is no UTF-8", "rename it in UTF-8, as convmv does, or move it elsewhere"
            ),
        ),
        (
            Fs(),
            "fs",
            b"work/.hidden",
            Misnamed(
                "work/.hidden", "in layout fs it would be called work/%2Ehidden", "mv work/.hidden work/%2Ehidden"
            ),
        ),
        (Fs(), "fs", b"work", Misnamed("work", "no mailbox of layout fs can be called so", NO_NAME)),
        (Fs(), "fs", b"Work/x", Misnamed("Work/x", "no mailbox of layout fs can be called so", NO_NAME)),
        (Fs(), "fs", "work/Entwürfe".encode(), None),
        (MaildirPlusPlus(), "maildir++", b".other.INBOX", None),
    ],
)
def test_name_that_is_no_mailbox_has_its_reason_and_what_to_do(
    layout: Layout, name: str, directory: bytes, expected: Misnamed | None
) -> None:
    """Where it can be told what is meant, that is a command; all of it is text that can be written anywhere."""
    found = tuple(misnamed(layout, name, [PurePosixPath(os.fsdecode(directory))]))

    assert found == (() if expected is None else (expected,))
    assert all(str(one).isprintable() for one in found)
