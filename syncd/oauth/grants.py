"""Floor 3: what a provider grants: a token to renew the access with, and the one of the moment."""

import json
from math import isfinite
from typing import Any

from syncd.values import Opaque, asdict


class Grant(Opaque):
    """Hold what a provider granted to one application, for one account. usable_until: the access token, by our clock.

    client_id and token_url: who was granted it, and who did; nobody else is told of it.
    """

    client_id: str
    token_url: str
    refresh_token: str
    access_token: str
    usable_until: float

    def token_at(self, now: float) -> str | None:
        """Return the access token, None where it is to be renewed first."""
        return self.access_token if now < self.usable_until else None

    def as_text(self) -> str:
        """Return it as JSON, which `from_text` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Grant":
        """Return what `as_text` wrote; ValueError for anything else, which has nothing of it."""
        try:
            found: Any = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict) and found.keys() == set(cls.__struct_fields__):
            until = found.pop("usable_until")
            if all(isinstance(one, str) for one in found.values()) and isinstance(until, float) and isfinite(until):
                return cls(**found, usable_until=until)
        raise ValueError("that is no grant")
