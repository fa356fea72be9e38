"""Floor 3: messages without UIDL that stay on their server: which row each turned out to be, from session to session.

Theory. Only its octets tell such a message from another, so each session would have to retrieve all that is kept. What
a session found is believed of the next ones, as long as LIST says the same size at the same place among those of that
size. Where one of them went that syncd deleted, or is to go now, those behind it move up: then nothing is believed of
that size, and content decides. It may be wrong of a message that took the place of one that was deleted elsewhere, so
for a day at most; and nothing is deleted by it, as that takes a retrieval in the same session.
"""

from collections.abc import Iterable, Mapping

from syncd.pop3.custody import Candidate, CustodyState, Known, Term

_BELIEVED_S = 86400.0


class Unnamed:
    """Remember the rows of one account's messages without UIDL, no more of them than are listed."""

    def __init__(self) -> None:
        self._rows: dict[str, str] = {}
        self._looked_at = 0.0

    def forget(self) -> None:
        """Let the next session retrieve all of them."""
        self._rows.clear()

    def recall(self, candidates: Iterable[Candidate], standing: Mapping[str, Known], term: Term) -> Mapping[str, str]:
        """Return the rows of those that need not be retrieved, by the keys under which they are listed."""
        if not 0 <= term.now - self._looked_at < _BELIEVED_S:
            self._looked_at = term.now
            self.forget()
        recalled: dict[str, Candidate] = {}
        moved: set[int | None] = set()
        for candidate in candidates:
            key, size = self._rows.get(candidate.key), candidate.listed.size_bytes
            if not candidate.is_anonymous or key is None:
                continue
            row = standing.get(key)
            if row and row.state is CustodyState.COMMITTED and row.size_bytes == size and not term.is_over(row):
                recalled[key] = candidate
            else:
                moved.add(size)
        # NOTE: a message that is retrieved while its row is believed to be that of another would be new.
        return {each.key: key for key, each in recalled.items() if each.listed.size_bytes not in moved}

    def learn(self, rows: Mapping[str, str]) -> None:
        """Believe this of the next sessions, and nothing else: the rows of what is committed, by the keys listed."""
        self._rows = dict(rows)
