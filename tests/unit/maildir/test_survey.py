"""What is in a root is counted before anything is done to it."""

from pathlib import Path

from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.news.survey import Stray, Survey, survey, words_of, words_of_former


def fill(root: Path, directory: str, *names: str) -> None:
    for name in names:
        file = root / directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (root / directory / "cur").mkdir(parents=True, exist_ok=True)


def test_files_are_counted_by_whether_they_are_in_a_mailbox(tmp_path: Path) -> None:
    """Mailboxes of other accounts are none, nor is the root itself; directories without mail say nothing."""
    fill(tmp_path, "work/INBOX", "cur/1:2,S", "new/2", "cur/.hidden", "tmp/3", ".mbsyncstate")
    fill(tmp_path, "work/Empty")
    fill(tmp_path, ".work.INBOX", "cur/1:2,")
    fill(tmp_path, "other/INBOX", "cur/1:2,", "new/1")
    fill(tmp_path, ".", "cur/1:2,")

    with ReplicaRoot(tmp_path) as root:
        as_fs = survey(root, "fs", accounts=["work"])
        as_maildir = survey(root, "maildir++", accounts=["work", "other"])

    assert as_fs == Survey(2, 1, (Stray(".", 1, False), Stray(".work.INBOX", 1, True), Stray("other", 2, False)))
    assert as_maildir == Survey(1, 1, (Stray(".", 1, False), Stray("other", 2, True), Stray("work", 2, True)))


def test_mail_of_an_account_that_is_not_configured_is_in_a_mailbox(tmp_path: Path) -> None:
    """So it is no sign of another layout; it is counted by itself, for nobody serves it."""
    fill(tmp_path, "work/INBOX", "cur/1:2,S")
    fill(tmp_path, "old/INBOX", "cur/1:2,S", "new/2")
    fill(tmp_path, "old/Sent", "cur/1:2,S")
    fill(tmp_path, "older/INBOX")

    with ReplicaRoot(tmp_path) as root:
        found = survey(root, "fs", accounts=["work"], former=["old", "older"])

    assert found == Survey(1, 1, (), {"old": 3})
    assert words_of_former(found.former) == "files left alone: 3 of account old, which is not configured"
    assert words_of_former({}) == ""


def test_person_is_told_which_layout_may_be_meant_or_where_mail_would_be() -> None:
    """A few directories are named, and the others counted."""
    job = Stray("job", 7, True)
    many = [Stray(name, 1, False) for name in "abcde"]

    assert words_of([job], "maildir++", accounts=["job"]) == (
        'files in no mailbox of layout maildir++: 7 below job/; is layout = "fs" meant?'
    )
    assert words_of(many, "fs", accounts=["job"]) == (
        "files in no mailbox of layout fs: 1 below a/, 1 below b/, 1 below c/ and more in 2 other directories; "
        "the INBOX of account job would be job/INBOX/"
    )
