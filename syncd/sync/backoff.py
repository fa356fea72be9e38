"""Floor 4: how long to wait before trying again: exponential with full jitter, by what the error says of itself."""

import random
from collections.abc import Callable

from syncd.errors import SyncdError, Temper
from syncd.values import Record

_FIRST_S = 1.0
_LAST_S = 300.0
_AFTER_REFUSED_LOGIN_S = 900.0


class Backoff(Record):
    """Count failures in a row and say how long to wait after each.

    A refused login waits a quarter of an hour: more tries lock accounts. `uniform` draws the jitter.
    """

    uniform: Callable[[float, float], float] = random.uniform
    failures: int = 0

    def failed(self, error: BaseException) -> float:
        """Return the seconds to wait after this failure."""
        self.failures += 1
        if isinstance(error, SyncdError) and error.temper is Temper.GIVE_UP:
            return _AFTER_REFUSED_LOGIN_S
        ceiling = min(_LAST_S, _FIRST_S * 2.0 ** min(self.failures - 1, 16))
        return self.uniform(ceiling / 2, ceiling)

    def succeeded(self) -> None:
        """Start again from the shortest wait."""
        self.failures = 0
