"""Free loopback ports that stay free while a server is down, also where several processes look for some at once.

Theory. The ports are cut into blocks, and a process owns one for as long as it lives: it has bound the block's name in
Linux's abstract namespace, which nobody else can meanwhile, and of which nothing is left behind. In its block it goes
around, so that a port is given again only after all the others.
"""

import contextlib
import itertools
import random
import socket
from collections.abc import Iterator
from functools import lru_cache

HOST = "127.0.0.1"
ANOTHER_MACHINE = "127.1"
"""The same, in a spelling in which syncd takes it for another machine, to which a line can be overheard."""
# NOTE: below the range that Linux gives to outgoing connections, so that a stopped server finds its port again.
_RANGE = range(15000, 32000)
_BLOCK = 250


def free_ports(count: int) -> tuple[int, ...]:
    """Return `count` different ports of 127.0.0.1 that nobody listens on."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        for candidate in itertools.islice(_own_ports(), _BLOCK):
            probe = held.enter_context(socket.socket())
            try:
                probe.bind((HOST, candidate))
            except OSError:
                continue
            ports.append(candidate)
            if len(ports) == count:
                return tuple(ports)
    raise OSError(f"of {_BLOCK} ports of {HOST} less than {count} are free")


@lru_cache(maxsize=1)
def _own_ports() -> Iterator[int]:
    """Take a block for the rest of the process's life, and return its ports again and again."""
    blocks = [_RANGE[first : first + _BLOCK] for first in range(0, len(_RANGE), _BLOCK)]
    random.SystemRandom().shuffle(blocks)
    return itertools.cycle(next(block for block in blocks if _take(block)))


def _take(block: range) -> bool:
    """Take a block unless it is somebody's; tell whether it is ours now."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as claim:
        try:
            claim.bind(f"\0syncd-tests-ports-{block.start}")
        except OSError:
            return False
        claim.detach()  # it stays bound until the process ends
    return True
