"""Floor 4: how fast something goes, from what was done lately, and how long the rest takes; the time is a parameter."""

from syncd.values import Record, Value, field

WINDOW_S = 30.0
_LEAST_S = 1.0
_STEP_S = 1.0


class Rate(Value):
    """Say what is done in a second."""

    messages_s: float
    bytes_s: float


class _Done(Record):
    at: float
    messages: int
    size_bytes: int


class Pace(Record):
    """Remember what was done within the last half minute: at most a sample for each second of it, and one before.

    What is done comes in batches, each of the time since the one before; so a rate counts from the end of one batch to
    the end of another.
    """

    _began: float = 0.0
    _samples: list[_Done] = field(default_factory=list)

    def begin(self, at: float) -> None:
        """Note that something is begun now; it goes on with what was done just before."""
        last = self._samples[-1].at if self._samples else self._began
        if not 0 <= at - last <= WINDOW_S:
            self._began = at
            self._samples.clear()

    def add(self, at: float, messages: int, size_bytes: int = 0) -> None:
        """Note that so much was done since the last time."""
        self.begin(at)
        last = self._samples[-1] if self._samples else None
        if last is not None and at - last.at < _STEP_S and len(self._samples) > 1:
            last.messages += messages
            last.size_bytes += size_bytes
            last.at = at
        else:
            self._samples.append(_Done(at, messages, size_bytes))
        while len(self._samples) > 1 and self._samples[1].at <= at - WINDOW_S:
            del self._samples[0]

    def rate(self, now: float) -> Rate | None:
        """Return how fast it goes, 0 where nothing came for long; None while nobody can say."""
        if not self._samples:
            return None
        last = self._samples[-1].at
        if now - last > WINDOW_S:
            return Rate(0.0, 0.0)
        since = max((one.at for one in self._samples if one.at <= last - WINDOW_S), default=self._began)
        took_s = last - since
        if took_s < _LEAST_S:
            return None
        lately = [one for one in self._samples if one.at > since]
        return Rate(
            sum(one.messages for one in lately) / took_s,
            sum(one.size_bytes for one in lately) / took_s,
        )


def eta_s(rate: Rate | None, *, messages: int, size_bytes: int = 0) -> float | None:
    """Return how long what is left takes at this rate, by count or by size, whichever is longer; None: nobody knows."""
    if not messages:
        return 0.0
    if rate is None or rate.messages_s <= 0:
        return None
    by_size_s = size_bytes / rate.bytes_s if rate.bytes_s > 0 else 0.0
    return max(messages / rate.messages_s, by_size_s)
