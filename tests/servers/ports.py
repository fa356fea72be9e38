"""Free loopback ports that stay free while a server is down."""

import contextlib
import random
import socket

HOST = "127.0.0.1"
# NOTE: below the range that Linux gives to outgoing connections, so that a stopped server finds its port again.
_RANGE = range(15000, 32000)


def free_ports(count: int) -> tuple[int, ...]:
    """Return `count` different ports of 127.0.0.1 that nobody listens on."""
    chooser = random.SystemRandom()
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        while len(ports) < count:
            candidate = chooser.choice(_RANGE)
            probe = held.enter_context(socket.socket())
            try:
                probe.bind((HOST, candidate))
            except OSError:
                continue
            ports.append(candidate)
    return tuple(ports)
