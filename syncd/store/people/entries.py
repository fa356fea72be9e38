"""Floor 3: what people ask of the history and what they get, as values; nothing here knows a database."""

from dataclasses import dataclass

LIMIT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Question:
    """Say what of the history is wanted; None: any.

    mailbox: with or without its account before it. device: where it was done, or who wanted it. message: the number
    of one, or a Message-ID. limit: how many lines at most, of the newest.
    """

    account: str | None = None
    mailbox: str | None = None
    device: str | None = None
    since: float | None = None
    message: str | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """Tell what happened, on a device, without one on the server, in seconds since 1970.

    Names are those of today, and uid is that which the message has, or had last; both None where nothing is of that
    name any more, or it is not about one. messages: how many, where they have one entry together. origin: who wanted
    it: server, person (by a command), syncd, devices (several), or the name of a device. verb: an effect of the plan,
    or what else there is (`store.history.Verb`). detail: the flags that changed, or `to MAILBOX`. outcome: done, held
    or refused; reason: why it was not done.
    """

    id: int
    at: float
    account: str | None
    mailbox: str | None
    device: str | None
    message: int | None
    uid: int | None
    messages: int
    origin: str
    verb: str
    detail: str
    outcome: str
    reason: str
