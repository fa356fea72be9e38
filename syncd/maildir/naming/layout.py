"""Floor 3: where a mailbox lives below a device root, and which mailbox a directory is: one-to-one, for both layouts.

Theory. A part of a mailbox name may hold any character; a directory name may not. What would be a separator, a
path of its own, or a name of Maildir is written %XX (its code point), % itself as %25, an empty part as a lone %.
Decoding undoes that, and a directory counts as a mailbox only if encoding the result gives exactly the same
directory: so no two names share a directory, no two directories share a name, and nothing leaves the root.
Names are UTF-8 on disk in `fs`, as every indexer of trees expects and mbsync has them since isync 1.5, and modified
UTF-7 in `maildir++`, because that is what Dovecot reads there unless told otherwise. In `fs` an older mbsync has left
them in modified UTF-7, as its server names them: `older_spellings` says which directories these are.
"""

import re
import unicodedata
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Protocol

from syncd.errors import MailboxNameError
from syncd.mail.mailbox import MailboxName, decode_utf7, encode_utf7

_ACCOUNT = re.compile(r"[a-z0-9_-]+")
_COMPONENT_MAX_BYTES = 255
_PATH_MAX_BYTES = 3072
"""Leaves room below PATH_MAX (4096) for the device root and a file name."""

_HAZARD = re.compile(r"[%/\x00-\x1f\x7f-\x9f]")
_HAZARD_OR_DOT = re.compile(r"[%/.\x00-\x1f\x7f-\x9f]")
_ESCAPED = re.compile(r"%([0-9A-F]{2})")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_EMPTY = "%"
_MAILDIR_NAMES = frozenset({"cur", "new", "tmp", "maildirfolder"})


class Layout(Protocol):
    """Map the mailboxes of accounts to directories relative to a device root, and back."""

    def directory(self, account: str, name: MailboxName) -> PurePosixPath:
        """Return the directory of a mailbox; MailboxNameError when no directory can be called so."""

    def mailbox(self, directory: PurePosixPath) -> tuple[str, MailboxName] | None:
        """Return account and mailbox of a directory; None for what `directory` would never give."""

    def meant(self, directory: PurePosixPath) -> PurePosixPath | None:
        """Return the directory of a mailbox of the name that another one has, if it has one: of another spelling."""

    def older_spellings(self, account: str, name: MailboxName) -> tuple[tuple[PurePosixPath, PurePosixPath], ...]:
        """Return directories that an older program may have for this one and those around it, with what they are here.

        From the outermost on, each as it is once those before are renamed.
        """


class MaildirPlusPlus:
    """Keep all mailboxes side by side: `.account.part.part`, in modified UTF-7."""

    def directory(self, account: str, name: MailboxName) -> PurePosixPath:
        parts = [_escaped(part, _HAZARD_OR_DOT) for part in _checked(account, name)]
        component = encode_utf7("." + ".".join((account, *parts))).decode("ascii")
        return _fitting((component,))

    def mailbox(self, directory: PurePosixPath) -> tuple[str, MailboxName] | None:
        if len(directory.parts) != 1 or not directory.name.startswith("."):
            return None
        try:
            account, *parts = decode_utf7(directory.name[1:].encode("ascii")).split(".")
        except ValueError:
            return None
        return _proven(self, directory, account, parts)

    def meant(self, directory: PurePosixPath) -> PurePosixPath | None:
        if len(directory.parts) != 1 or not directory.name.startswith("."):
            return None
        account, *parts = _decoded(directory.name)[1:].split(".")
        return _meant(self, account, parts)

    def older_spellings(self, account: str, name: MailboxName) -> tuple[tuple[PurePosixPath, PurePosixPath], ...]:
        return ()


class Fs:
    """Keep mailboxes inside mailboxes: `account/part/part`, in UTF-8; INBOX is a mailbox like others."""

    def directory(self, account: str, name: MailboxName) -> PurePosixPath:
        parts = (_without_clash(_escaped(part, _HAZARD)) for part in _checked(account, name))
        return _fitting((account, *parts))

    def mailbox(self, directory: PurePosixPath) -> tuple[str, MailboxName] | None:
        if not directory.parts:
            return None
        account, *parts = directory.parts
        return _proven(self, directory, account, parts)

    def meant(self, directory: PurePosixPath) -> PurePosixPath | None:
        account, *parts = directory.parts or ("",)
        return _meant(self, account, parts)

    def older_spellings(self, account: str, name: MailboxName) -> tuple[tuple[PurePosixPath, PurePosixPath], ...]:
        wanted = self.directory(account, name)
        here = (*reversed(wanted.parents), wanted)[2:]  # without the root, and the account
        older = [each.with_name(encode_utf7(each.name).decode("ascii")) for each in here]
        return tuple((old, each) for old, each in zip(older, here, strict=True) if old != each)


def without_utf7(name: MailboxName) -> MailboxName | None:
    """Return what a name says if its parts are modified UTF-7, None if they are not, or say just that."""
    try:
        decoded = MailboxName(tuple(decode_utf7(part.encode("ascii")) for part in name.parts))
    except ValueError:
        return None
    return decoded if decoded != name else None


def are_nearly_equal(one: str, other: str) -> bool:
    """Tell whether two directories are not one, and are to a disk that folds case or the forms of Unicode."""
    return one != other and _folded(one) == _folded(other)


@lru_cache(maxsize=4096)
def _folded(directory: str) -> str:
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", _decoded(directory)).casefold())


def _decoded(directory: str) -> str:
    try:
        return decode_utf7(directory.encode("ascii"))
    except ValueError:
        return directory


def _checked(account: str, name: MailboxName) -> tuple[str, ...]:
    if not _ACCOUNT.fullmatch(account):
        raise ValueError("not an account name")
    if any(_SURROGATE.search(part) for part in name.parts):
        raise MailboxNameError("the mailbox name is no Unicode text")
    return name.parts


def _escaped(part: str, hazards: re.Pattern[str]) -> str:
    return hazards.sub(lambda found: f"%{ord(found[0]):02X}", part) if part else _EMPTY


def _without_clash(escaped: str) -> str:
    # NOTE: a mailbox in a mailbox lies beside cur/, new/, tmp/ and Dovecot's own files; programs skip dot names.
    if escaped in _MAILDIR_NAMES or escaped.startswith((".", "dovecot")):
        return f"%{ord(escaped[0]):02X}{escaped[1:]}"
    return escaped


def _unescaped(component: str) -> str:
    return "" if component == _EMPTY else _ESCAPED.sub(lambda found: chr(int(found[1], 16)), component)


def _fitting(components: tuple[str, ...]) -> PurePosixPath:
    lengths = [len(component.encode()) for component in components]
    if max(lengths) > _COMPONENT_MAX_BYTES or sum(lengths) + len(lengths) > _PATH_MAX_BYTES:
        raise MailboxNameError("the mailbox name is too long for a directory")
    return PurePosixPath(*components)


def _proven(layout: Layout, directory: PurePosixPath, account: str, parts: list[str]) -> tuple[str, MailboxName] | None:
    if not parts or not _ACCOUNT.fullmatch(account):
        return None
    name = MailboxName(tuple(_unescaped(part) for part in parts))
    try:
        return (account, name) if layout.directory(account, name) == directory else None
    except MailboxNameError:
        return None


def _meant(layout: Layout, account: str, parts: list[str]) -> PurePosixPath | None:
    if not parts or not _ACCOUNT.fullmatch(account):
        return None
    try:
        return layout.directory(account, MailboxName(tuple(map(_unescaped, parts))))
    except (MailboxNameError, ValueError):
        return None
