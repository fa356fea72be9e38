"""Floor 5: what keeps secrets and control characters out of the log, whatever is put into it."""

import base64
import re
from collections.abc import Mapping

from syncd.config.problems import printable

REDACTED = "[redacted]"
_SECRET_KEY = re.compile(r"passw|secret|token|authorization|credential|cookie|api_?key", re.IGNORECASE)
_SHORTEST = 4
"""A shorter secret is not searched for: it would be found in every word."""


class Secrets:
    """Know the secrets of this process, to take them out of texts."""

    def __init__(self) -> None:
        self._pattern: re.Pattern[str] | None = None
        self._forms: frozenset[str] = frozenset()

    def add(self, secret: str) -> None:
        """Redact a value from now on, also as base64, alone or among other octets."""
        if len(secret) < _SHORTEST:
            return
        self._forms |= {secret, *_base64_forms(secret)}
        longest_first = sorted(self._forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def redacted(self, text: str) -> str:
        """Return a text without any known secret."""
        return self._pattern.sub(REDACTED, text) if self._pattern else text

    def cleaned(self, key: str, value: object) -> object:
        """Return a value of a log record as it may be shown: redacted, and without control characters."""
        if _SECRET_KEY.search(key):
            return REDACTED
        match value:
            case bool() | int() | float() | None:
                return value
            case str():
                return printable(self.redacted(value))
            case Mapping():
                pairs = ((printable(self.redacted(str(name))), inner) for name, inner in value.items())
                return {name: self.cleaned(name, inner) for name, inner in pairs}
            case list() | tuple() | set() | frozenset():
                return [self.cleaned(key, inner) for inner in value]
        return printable(self.redacted(str(value)))

    def cleaned_lines(self, text: str) -> str:
        """Return a text of several lines, such as a traceback, each of them indented, so that none is forged."""
        return "\n".join(f"  {printable(line)}" for line in self.redacted(text).split("\n"))


def _base64_forms(secret: str) -> set[str]:
    """Return what is the same in every base64 that contains the secret, for each of its three positions."""
    octets = secret.encode()
    forms = {base64.b64encode(octets).decode()}
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + octets).decode().rstrip("=")
        # NOTE: characters at both ends also encode neighbours, so they differ from text to text.
        first = (before * 8 + 5) // 6
        last = (before + len(octets)) * 8 // 6
        forms.add(encoded[first:last])
    return {form for form in forms if len(form) >= _SHORTEST}
