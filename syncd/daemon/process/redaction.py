"""Floor 5: what keeps secrets and control characters out of the log, whatever is put into it."""

import base64
import json
import re
from collections import Counter
from collections.abc import Mapping
from urllib.parse import quote, quote_plus

from syncd.config.problems import printable

REDACTED = "[redacted]"
_SECRET_KEY = re.compile(r"passw|secret|token|authorization|credential|cookie|api_?key", re.IGNORECASE)
_URL_SAFE = str.maketrans("+/", "-_")
_ESCAPE = re.compile("%[0-9A-F]{2}")
_SHORTEST = 4
"""A shorter secret is not searched for: it would be found in every word."""


class Secrets:
    """Know the secrets of this process, to take them out of texts.

    However many there are, a text costs one look-up for each of its characters.
    """

    def __init__(self) -> None:
        self._by_start: dict[str, tuple[str, ...]] = {}
        """The forms of all secrets by their first characters, each time the longest first."""
        self._counts: Counter[str] = Counter()
        """How often each form was added: two secrets may share one."""

    def add(self, secret: str) -> None:
        """Redact a value from now on, in every form in which it is sent, quoted or shown."""
        if len(secret) < _SHORTEST:
            return
        for form in _forms(secret):
            start = form[:_SHORTEST]
            self._counts[form] += 1
            self._by_start[start] = tuple(sorted({*self._by_start.get(start, ()), form}, key=len, reverse=True))

    def discard(self, secret: str) -> None:
        """Forget a value that was added once, and that nobody holds any more."""
        if len(secret) < _SHORTEST:
            return
        for form in _forms(secret):
            start = form[:_SHORTEST]
            self._counts[form] -= 1
            if self._counts[form] > 0:
                continue
            del self._counts[form]
            self._by_start[start] = tuple(one for one in self._by_start.get(start, ()) if one != form)
            if not self._by_start[start]:
                del self._by_start[start]

    def redacted(self, text: str) -> str:
        """Return a text without any known secret."""
        if not self._by_start:
            return text
        parts: list[str] = []
        begin, by_start = 0, self._by_start
        for at in range(len(text) - _SHORTEST + 1):
            forms = by_start.get(text[at : at + _SHORTEST])
            if forms is None or at < begin:
                continue
            for form in forms:
                if text.startswith(form, at):
                    parts += text[begin:at], REDACTED
                    begin = at + len(form)
                    break
        return "".join((*parts, text[begin:]))

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


def _forms(secret: str) -> frozenset[str]:
    encoded = _base64_forms(secret)
    encoded |= {form.translate(_URL_SAFE) for form in encoded}
    escaped = _escaped_forms(secret)
    forms = {secret, *escaped, *encoded}
    forms |= {twice for form in escaped for twice in _escaped_forms(form)}  # a repr of what was sent, for one
    forms |= {quoted for form in (secret, *encoded) for quoted in _url_forms(form)}
    return frozenset(form for form in forms if len(form) >= _SHORTEST)


def _escaped_forms(secret: str) -> set[str]:
    """Return how it stands between quotes: in a command of IMAP, in JSON, in a repr of text or of octets."""
    by_backslash = secret.replace("\\", "\\\\")
    return {
        by_backslash,
        by_backslash.replace('"', '\\"'),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        repr(secret.encode())[2:-1],
    }


def _url_forms(secret: str) -> set[str]:
    """Return how it stands in a URL or a form, with the digits of its escapes in either case."""
    forms = {quote(secret, safe=safe) for safe in ("", "/", " +")} | {quote_plus(secret)}
    return forms | {_ESCAPE.sub(lambda escape: escape[0].lower(), form) for form in forms}


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
    return forms
