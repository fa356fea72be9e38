"""Floor 3: where a POP3 server is, how the line to it is protected, and what it may make us spend."""

import ssl
from dataclasses import dataclass, field
from enum import StrEnum

from syncd.values import Value

MIB = 1024 * 1024


class Security(StrEnum):
    """Say how the line is encrypted: from the first octet, after STLS (RFC 2595 §4), or not at all."""

    TLS = "tls"
    STLS = "stls"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Name a server and the protection its line must have; nothing weaker is ever fallen back to.

    tls_context: made by the caller (loading certificates is file work); needed unless `security` is PLAIN. pin_sha256:
    of the only certificate to trust, for a context that verifies none.
    """

    host: str
    port: int
    security: Security = Security.TLS
    tls_context: ssl.SSLContext | None = field(default=None, repr=False)
    pin_sha256: str | None = None

    def __post_init__(self) -> None:
        if (self.security is Security.PLAIN) == (self.tls_context is not None):
            raise ValueError("a TLS context is needed for an encrypted line, and only for that")


class Limits(Value):
    """Bound what a server can make us wait for, hold in memory or write to disk.

    command_s: for one answer, and one more second for each `min_rate_bytes` of it that came. inactivity_s: without
    any octet. line_bytes: a status line. listing_bytes: CAPA, LIST, UIDL, each. message_bytes: one message.
    spool_above_bytes: larger bodies go to a file. window_commands, window_bytes: commands on their way where the server
    announces PIPELINING, and the sum of the listed sizes they ask for. window_marks: DELE commands on their way, each
    of which is answered by a line.
    """

    connect_s: float = 30.0
    command_s: float = 60.0
    inactivity_s: float = 60.0
    min_rate_bytes: int = 256
    line_bytes: int = 8192
    listing_bytes: int = 32 * MIB
    message_bytes: int = 256 * MIB
    spool_above_bytes: int = MIB
    window_commands: int = 200
    window_bytes: int = 4 * MIB
    window_marks: int = 2000
