"""Waiting until what the story claims is so, and failing when it is not in time."""

import time
from collections.abc import Callable, Mapping

Claims = Mapping[str, Callable[[], bool]]
"""What should become true, by where."""


class StepFailedError(Exception):
    """A step of the story does not hold; the text says what, for a person."""


def wait_for(
    what: str,
    claims: Claims,
    *,
    patience_s: float,
    since: float,
    every_s: float = 0.01,
    meanwhile: Callable[[], None] = lambda: None,
) -> Mapping[str, float]:
    """Return when each claim of `what` was first seen to hold, in seconds after `since` (of time.monotonic).

    StepFailedError unless all of them hold together before `patience_s` is over. `meanwhile` runs between two looks,
    which are `every_s` apart, and may raise it as well.
    """
    first: dict[str, float] = {}
    while True:
        missing = []
        for where, holds in claims.items():
            if holds():
                first.setdefault(where, time.monotonic() - since)
            else:
                missing.append(where)
        if not missing:
            return first
        if time.monotonic() - since > patience_s:
            raise StepFailedError(f"{what}: not so on {', '.join(missing)} after {patience_s:g} s")
        meanwhile()
        time.sleep(every_s)
