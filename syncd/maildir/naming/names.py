"""Floor 3: file names of a Maildir: the minted part that never changes, and the letters that are flags."""

import re
import secrets
from collections.abc import Iterable, Iterator
from functools import lru_cache

from syncd.mail.flags import ANSWERED, DELETED, DRAFT, FLAGGED, FORWARDED, SEEN, SYSTEM, Flags, canonical
from syncd.mail.tree import Holdable
from syncd.maildir.naming.keywords import LETTERS, KeywordMap
from syncd.values import Value

_MARK = ":2,"
_FLAG_OF_LETTER = {"D": DRAFT, "F": FLAGGED, "P": FORWARDED, "R": ANSWERED, "S": SEEN, "T": DELETED}
_LETTER_OF_SYSTEM_FLAG = {flag: letter for letter, flag in _FLAG_OF_LETTER.items() if flag in SYSTEM}
_PASSED = "P"
_TOKEN_BYTES = 8
_MINTED = re.compile(r"\d+\.R[0-9a-f]{16}\.syncd,S=\d+,W=\d+", re.ASCII)


class FileName(Value):
    """Split the name of a file in cur/ or new/ at its last `:2,`.

    name: the key of a file within a replica; it stays when flags change. info: what follows `:2,`, None without
    that mark. Any octets but / and NUL may occur, those that are no UTF-8 as surrogates (os.fsdecode).
    """

    name: str
    info: str | None = None

    @classmethod
    def parse(cls, text: str) -> "FileName":
        """Return the parts of a name; `str()` gives the same name back."""
        name, mark, info = text.rpartition(_MARK)
        return cls(name, info) if mark else cls(text)

    @staticmethod
    def name_of(text: str) -> str:
        """Return the unchanging part alone; for the hundred thousand names of a directory."""
        name, mark, _ = text.rpartition(_MARK)
        return name if mark else text

    @staticmethod
    def letters_in(text: str) -> str:
        """Return the flag letters alone; for as many names."""
        _, mark, info = text.rpartition(_MARK)
        return info.partition(",")[0] if mark else ""

    def __str__(self) -> str:
        return joined(self.name, self.info)

    @property
    def letters(self) -> str:
        """Return the flag letters as they stand, in any order and number; what follows a comma is no flag."""
        return (self.info or "").partition(",")[0]

    @property
    def _extra(self) -> str:
        return "".join((self.info or "").partition(",")[1:])

    def with_flags(self, flags: Flags, keywords: KeywordMap) -> "FileName":
        """Return the name in cur/ that says `flags`; letters that mean nothing here stay."""
        known = letters_of(flags, keywords)
        unknown = unknown_letters(self.letters, keywords)
        return FileName(self.name, "".join(sorted({*known, *unknown})) + self._extra)

    def without_unknown(self, keywords: KeywordMap) -> "FileName":
        """Return the name without the letters that mean nothing here."""
        unknown = unknown_letters(self.letters, keywords)
        return FileName(self.name, "".join(letter for letter in self.letters if letter not in unknown) + self._extra)

    def in_mailbox(self, flags: Flags, keywords: KeywordMap) -> "FileName":
        """Return the name in cur/ of another mailbox: a keyword's letter may mean another one there, so none stays."""
        known = letters_of(flags, keywords)
        others = (letter for letter in unknown_letters(self.letters, keywords) if letter not in LETTERS)
        return FileName(self.name, "".join(sorted({*known, *others})) + self._extra)


def joined(name: str, info: str | None) -> str:
    """Return the name of a file by its parts."""
    return name if info is None else f"{name}{_MARK}{info}"


def tokens(count: int) -> Iterator[str]:
    """Yield random tokens for `mint`.

    NOTE: asked for one by one, the system gives each of them in a turn of threads of its own.
    """
    digits = secrets.token_hex(count * _TOKEN_BYTES)
    return (digits[at : at + 2 * _TOKEN_BYTES] for at in range(0, len(digits), 2 * _TOKEN_BYTES))


def mint(*, time_s: int, size_bytes: int, wire_size_bytes: int, token: str | None = None) -> str:
    """Return a new unique name, to be committed before the file is written.

    size_bytes counts the file's octets, wire_size_bytes the same with CRLF line ends; Dovecot and Courier read
    them from S= and W=. token: 16 hexadecimal digits, random unless given.
    """
    name = f"{time_s}.R{token or secrets.token_hex(_TOKEN_BYTES)}.syncd,S={size_bytes},W={wire_size_bytes}"
    if not is_minted(name):
        raise ValueError("the parts do not make a unique name")
    return name


def is_minted(name: str) -> bool:
    """Tell whether `mint` could have made this name."""
    return _MINTED.fullmatch(name) is not None


@lru_cache(maxsize=4096)
def letters_of(flags: Flags, keywords: KeywordMap) -> str:
    """Return the letters of those flags that have one, in ASCII order.

    $Forwarded is P (passed) for the mail programs of the Maildir world, and also its keyword letter where it has
    one: to Dovecot, P is no keyword.
    """
    letters = set()
    for flag in flags:
        system = _LETTER_OF_SYSTEM_FLAG.get(flag)
        if system:
            letters.add(system)
            continue
        if flag.lower() == FORWARDED.lower():
            letters.add(_PASSED)
        keyword = keywords.letter(flag)
        if keyword:
            letters.add(keyword)
    return "".join(sorted(letters))


@lru_cache(maxsize=4096)
def flags_of(letters: str, keywords: KeywordMap) -> Flags:
    """Return the flags that letters say, in any order, doubled or not; unknown letters say nothing."""
    flags: dict[str, str] = {}
    for letter in letters:
        flag = _FLAG_OF_LETTER.get(letter) or keywords.keyword(letter)
        if flag:
            flags.setdefault(flag.lower(), flag)
    return frozenset(flags.values())


def unknown_letters(letters: str, keywords: KeywordMap) -> str:
    """Return the letters that are no flag here: of programs we do not know, or of keywords no longer listed."""
    return "".join(letter for letter in letters if letter not in _FLAG_OF_LETTER and not keywords.keyword(letter))


def unlisted_keywords(flags: Iterable[str], keywords: KeywordMap) -> tuple[str, ...]:
    """Return the keywords among `flags` that need a letter still, $Forwarded too; sorted."""
    return tuple(
        sorted(
            flag
            for flag in flags
            if not flag.startswith("\\") and canonical(flag) is not None and keywords.letter(flag) is None
        )
    )


def holdable(keywords: KeywordMap) -> Holdable:
    """Return which flags this mailbox of a replica can hold: any keyword, until its 26 letters are given."""
    return Holdable(flags=SYSTEM | {FORWARDED} | keywords.keywords, any_keyword=not keywords.is_full)
