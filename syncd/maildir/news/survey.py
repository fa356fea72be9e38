"""Floor 3: what is in a root, seen before anything is done to it: how many files, and whether a layout finds them."""

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath

from syncd.mail.mailbox import INBOX
from syncd.maildir.disk.files import CUR, NEW
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.naming.layout import Fs, Layout, MaildirPlusPlus
from syncd.maildir.naming.misnamed import Misnamed, misnamed, readable
from syncd.maildir.system.failures import failing
from syncd.values import Value, field

_ROOT = PurePosixPath()
_LAYOUTS: Mapping[str, Layout] = {"maildir++": MaildirPlusPlus(), "fs": Fs()}
_SHOWN = 3


class Stray(Value):
    """Files of no mailbox; below: of the root, `.` for those in its own cur/ and new/.

    is_of_other: the other layout would have mailboxes there. is_misnamed: they are in directories of `Survey.misnamed`.
    """

    below: str
    files: int
    is_of_other: bool
    is_misnamed: bool = False


class Survey(Value):
    """How many files are in how many mailboxes, which are in none, and how many are of each former account.

    misnamed: directories that no mailbox can be called, in the other layout neither.
    """

    files: int
    mailboxes: int
    strays: tuple[Stray, ...]
    former: Mapping[str, int] = field(default_factory=dict)
    misnamed: tuple[Misnamed, ...] = ()


def survey(root: ReplicaRoot, layout_name: str, *, accounts: Collection[str], former: Collection[str] = ()) -> Survey:
    """Count the files of a root by whether a layout (`_LAYOUTS`) finds them in a mailbox of these accounts.

    former: accounts that are known and not configured; their mail is in mailboxes that nobody serves.
    """
    layout, other = _LAYOUTS[layout_name], _LAYOUTS[_other_than(layout_name)]
    files, mailboxes = 0, 0
    strays, of_other, of_former, of_misnamed = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    wrong: list[Misnamed] = []
    for directory in (_ROOT, *root.directories()):
        count = _count(root, directory)
        account = _account_of(layout, directory)
        if account in accounts:
            files, mailboxes = files + count, mailboxes + (count > 0)
        elif account is not None and account in former:
            of_former[account] += count
        elif count:
            below = directory.parts[0] if directory.parts else "."
            strays[below] += count
            if _account_of(other, directory) in accounts:
                of_other[below] += count
            elif which := tuple(misnamed(layout, layout_name, (directory,))):
                wrong += which
                of_misnamed[below] += count
    found = tuple(
        Stray(below, count, of_other[below] == count, of_misnamed[below] == count) for below, count in strays.items()
    )
    return Survey(files, mailboxes, found, +of_former, tuple(wrong))


def words_of(strays: Sequence[Stray], layout_name: str, *, accounts: Collection[str]) -> str:
    """Say which files are in no mailbox, and what may be meant."""
    where = ", ".join(f"{one.files} below {readable(one.below)}/" for one in strays[:_SHOWN])
    more = f" and more in {len(strays) - _SHOWN} other directories" if len(strays) > _SHOWN else ""
    if all(one.is_of_other for one in strays):
        hint = f'is layout = "{_other_than(layout_name)}" meant?'
    else:
        account = next(iter(accounts), "work")
        inbox = _LAYOUTS[layout_name].directory(account, INBOX)
        hint = f"the INBOX of account {account} would be {inbox}/"
    return f"files in no mailbox of layout {layout_name}: {where}{more}; {hint}"


def words_of_former(former: Mapping[str, int]) -> str:
    """Say how many files are of accounts that are not configured; nothing where there are none."""
    each = "; ".join(f"{files} of account {name}, which is not configured" for name, files in former.items())
    return f"files left alone: {each}" if each else ""


def _other_than(layout_name: str) -> str:
    return next(name for name in _LAYOUTS if name != layout_name)


def _account_of(layout: Layout, directory: PurePosixPath) -> str | None:
    found = layout.mailbox(directory)
    return found[0] if found is not None else None


def _count(root: ReplicaRoot, directory: PurePosixPath) -> int:
    with failing("list a mailbox directory"):
        return sum(_names(root, directory / subdir) for subdir in (CUR, NEW))


def _names(root: ReplicaRoot, directory: PurePosixPath) -> int:
    try:
        with root.opened(directory) as fd:
            return sum(not name.startswith(".") for name in os.listdir(fd))  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return 0
