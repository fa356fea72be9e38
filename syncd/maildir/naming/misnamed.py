"""Floor 3: which directories no mailbox can be called: shown to the person, who alone can say what is meant; pure."""

import os
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from shlex import quote

from syncd.maildir.naming.layout import Layout
from syncd.values import Value


class Misnamed(Value):
    """Name a directory that is left alone, as it can be shown, why it is, and what to do about it."""

    directory: str
    why: str
    remedy: str


def misnamed(layout: Layout, layout_name: str, directories: Iterable[PurePosixPath]) -> Iterator[Misnamed]:
    """Yield those of these directories, each with a cur/, that are no mailbox of any account by their names."""
    for directory in directories:
        if not directory.parts or layout.mailbox(directory) is not None:
            continue
        name = str(directory)
        meant = layout.meant(directory)
        if not is_text(name):
            why, remedy = "its name is no UTF-8", "rename it in UTF-8, as convmv does, or move it elsewhere"
        elif meant is not None:
            why = f"in layout {layout_name} it would be called {meant}"
            remedy = f"mv {quote(name)} {quote(str(meant))}"
        else:
            why = f"no mailbox of layout {layout_name} can be called so"
            remedy = "give it a name like those beside it, or move it elsewhere"
        yield Misnamed(readable(name), why, remedy)


def is_text(name: str) -> bool:
    """Tell whether a name of the file system is UTF-8."""
    return readable(name) == name


def readable(name: str) -> str:
    r"""Return a name of the file system as a text: octets that are no UTF-8 become `\xfc` and the like."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
