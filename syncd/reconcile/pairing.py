"""Floor 2: files and messages paired by content alone, each of equal ones with one other."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from syncd.values import Value


class Candidate(Value):
    """Something with contents, by its row id, and when its message came.

    contents: bodies that it has or may have; a file has two, for its line ends may stand for others.
    """

    id: int
    contents: frozenset[int]
    at: int


def pair_by_content(files: Iterable[Candidate], messages: Iterable[Candidate]) -> Mapping[int, int]:
    """Return a message for each file that has one; equal ones are counted, and those of one time come first."""
    by_content: dict[int, list[Candidate]] = defaultdict(list)
    for message in messages:
        for content in message.contents:
            by_content[content].append(message)
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    rest = list(files)
    for is_of_one_time in (True, False):
        unpaired: list[Candidate] = []
        for file in rest:
            likes = (one for content in sorted(file.contents) for one in by_content.get(content, ()))
            free = (one for one in likes if one.id not in taken and (one.at == file.at or not is_of_one_time))
            found = next(free, None)
            if found is None:
                unpaired.append(file)
            else:
                pairs[file.id] = found.id
                taken.add(found.id)
        rest = unpaired
    return pairs
