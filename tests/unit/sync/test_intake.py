"""Which files are taken in without waiting for them to stay as they are."""

from pathlib import Path, PurePosixPath
from typing import Any, cast

import pytest

from syncd.maildir.news.changes import OVERFLOW, ChangedFile, Changes
from syncd.maildir.news.observe import SeenFile
from syncd.sync.device.intake import Intake

_PUT = ChangedFile(PurePosixPath(".work.INBOX"), SeenFile.of("new", "1"), is_whole=True)


@pytest.mark.parametrize(
    ("later", "is_whole"),
    [
        (Changes(), True),
        (Changes(frozenset({_PUT._replace(is_written=True, is_whole=False)})), False),
        (OVERFLOW, False),
    ],
)
def test_file_is_whole_as_long_as_it_is_sure_that_nobody_wrote_to_it(
    tmp_path: Path, later: Changes, *, is_whole: bool
) -> None:
    """Where more happened than was heard, somebody may have."""
    nothing = cast("Any", None)
    intake = Intake(
        nothing,
        tmp_path,
        settle_s=1.0,
        spool_directory=None,
        keywords=nothing,
        prover=nothing,
        wakes=nothing,
        clock=nothing,
    )
    intake.hear(Changes(frozenset({_PUT})))

    intake.hear(later)

    assert bool(intake._whole) is is_whole
