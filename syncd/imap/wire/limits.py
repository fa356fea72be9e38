"""Floor 3: the bounds on what one connection takes from a server."""

from syncd.values import Value


class Limits(Value):
    """Bound what one connection takes from a server.

    line_max_bytes: a SEARCH of a million UIDs is one line of up to 11 MB. greeting_max_bytes: a line before login.
    literal_max_bytes: a body. memory_literal_max_bytes: a literal that goes to no sink. response_max_bytes: text and
    such literals of one response. untagged_max: untagged responses within one command. held_max_bytes: what was read
    and is not yet taken; reading pauses above. command_s: the whole of a command that carries no bodies. bytes_per_s:
    the slowest transfer of bodies that is waited for. inactivity_s: silence while a command waits. connect_s: name,
    route and TLS together, and then the greeting. logout_s: a polite end.
    """

    line_max_bytes: int = 16 * 1024 * 1024
    greeting_max_bytes: int = 64 * 1024
    literal_max_bytes: int = 512 * 1024 * 1024
    memory_literal_max_bytes: int = 1024 * 1024
    response_max_bytes: int = 32 * 1024 * 1024
    untagged_max: int = 2_000_000
    held_max_bytes: int = 8 * 1024 * 1024
    command_s: float = 180.0
    bytes_per_s: int = 4096
    inactivity_s: float = 90.0
    connect_s: float = 30.0
    logout_s: float = 2.0
