"""Floor 1: what is said on a wire, shown on demand: no login, no body, no header, no address, and at debug level only.

SYNCD_WIRE_TRACE names the accounts, with commas between them; `*` is all. It is for finding a fault, and so no key of
the configuration that somebody could leave behind.
"""

import os
import re

from syncd.log import log, structlog

VARIABLE = "SYNCD_WIRE_TRACE"
_ADDRESS = re.compile(r"[^\s<>()\[\]\"',;:=]+@(?:\[[^\s\]]*\]?|[^\s<>()\[\]\"',;:=]+)")
_SHOWN_MAX_CHARS = 2000


def is_wanted() -> bool:
    """Tell whether the account that the running task serves is to be traced."""
    wanted = os.environ.get(VARIABLE, "")
    return bool(wanted) and not {"*", structlog.contextvars.get_contextvars().get("account")}.isdisjoint(
        wanted.split(",")
    )


def sent(text: str) -> None:
    """Show what we say; what must not be shown was taken out by whoever knows the protocol, but for addresses."""
    log.debug("wire_sent", line=_shown(text))


def received(text: str) -> None:
    """Show what a server says, as `sent` does."""
    log.debug("wire_received", line=_shown(text))


def text_of(octets: bytes) -> str:
    """Return octets as a text of bounded length that no terminal can be hurt by."""
    return octets[:_SHOWN_MAX_CHARS].decode("ascii", "backslashreplace") + ("…" if octets[_SHOWN_MAX_CHARS:] else "")


def _shown(text: str) -> str:
    return _ADDRESS.sub("…@…", text)
