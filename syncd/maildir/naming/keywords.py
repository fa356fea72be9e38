"""Floor 3: the keywords of one mailbox of a replica and their letters a to z, as a value."""

from syncd.mail.flags import canonical
from syncd.values import Value

LETTERS = "abcdefghijklmnopqrstuvwxyz"


class KeywordMap(Value):
    """Give up to 26 keywords of one mailbox a letter each, by Dovecot's numbers: 0 is a, 25 is z.

    entries: (number, keyword), ascending by number. Numbers above 25 and words that no server would take as a
    keyword have no letter; they are kept because somebody else wrote them.
    """

    entries: tuple[tuple[int, str], ...] = ()

    def __post_init__(self) -> None:
        numbers = [number for number, _ in self.entries]
        if numbers != sorted(set(numbers)) or (numbers and numbers[0] < 0):
            raise ValueError("keyword numbers must ascend from 0 or more")

    def letter(self, keyword: str) -> str | None:
        """Return the letter of a keyword, whatever its case; None when it has none."""
        wanted = keyword.lower()
        for number, name in self.entries:
            if number < len(LETTERS) and name.lower() == wanted and _is_keyword(name):
                return LETTERS[number]
        return None

    def keyword(self, letter: str) -> str | None:
        """Return the keyword of a letter; None when it means nothing here."""
        for number, name in self.entries:
            if number < len(LETTERS) and letter == LETTERS[number]:
                return name if _is_keyword(name) else None
        return None

    @property
    def keywords(self) -> frozenset[str]:
        """Return the keywords that have a letter."""
        return frozenset(name for number, name in self.entries if number < len(LETTERS) and _is_keyword(name))

    @property
    def is_full(self) -> bool:
        """Tell whether no further keyword can be given a letter."""
        return self._next_number >= len(LETTERS)

    @property
    def _next_number(self) -> int:
        # NOTE: gaps are never filled: files may still carry a letter whose keyword was taken off the list, and would
        # all gain the keyword that takes its place.
        return self.entries[-1][0] + 1 if self.entries else 0

    def with_keyword(self, keyword: str) -> "tuple[KeywordMap, str] | None":
        """Return the map in which `keyword` has a letter, and the letter; None when all 26 are taken.

        ValueError for what is no keyword: only what an IMAP atom can hold may reach a file.
        """
        if not _is_keyword(keyword):
            raise ValueError("not a keyword")
        known = self.letter(keyword)
        if known is not None:
            return self, known
        if self.is_full:
            return None
        number = self._next_number
        return KeywordMap((*self.entries, (number, keyword))), LETTERS[number]

    def merged(self, newer: "KeywordMap") -> "KeywordMap":
        """Return all entries of both maps; where they give one number to two keywords, `newer` is right."""
        return KeywordMap(tuple(sorted((dict(self.entries) | dict(newer.entries)).items())))


EMPTY = KeywordMap()


def _is_keyword(name: str) -> bool:
    return not name.startswith("\\") and canonical(name) is not None
