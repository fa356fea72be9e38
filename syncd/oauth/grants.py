"""Floor 3: what a provider grants: a token to renew the access with, and the one of the moment."""

import json

from syncd.values import Opaque

_SOON_S = 300.0
"""A token that ends within this time is not used any more: clocks differ, and a login takes its time."""


class Grant(Opaque):
    """Hold what one application was granted for one account. expires_at: of the access token, by our clock.

    It is the end of its life that counts as far as it is known; of one whose end nobody told, it is when it came.
    """

    client_id: str
    refresh_token: str
    access_token: str
    expires_at: float

    def token_at(self, now: float) -> str | None:
        """Return the access token, None where it is to be renewed first."""
        return self.access_token if self.expires_at - now > _SOON_S else None

    def as_text(self) -> str:
        """Return it as JSON, which `from_text` reads."""
        return json.dumps({name: getattr(self, name) for name in _FIELDS})

    @classmethod
    def from_text(cls, text: str) -> "Grant":
        """Return what `as_text` wrote; ValueError for anything else."""
        found = json.loads(text)
        if not isinstance(found, dict) or found.keys() != set(_FIELDS):
            raise ValueError("that is no grant")
        return cls(**found)


_FIELDS = Grant.__struct_fields__
