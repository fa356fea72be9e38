"""Ports that nobody else is given."""

import itertools
import subprocess
import sys
from pathlib import Path

from tests.servers.ports import free_ports

ROOT = Path(__file__).parents[3]
MANY = 200
PROGRAM = f"from tests.servers.ports import free_ports; print(*free_ports({MANY}), flush=True); input()"


def test_a_port_is_given_again_only_after_many_others() -> None:
    """A server that is down for a while finds its ports free when it starts again."""
    mine = free_ports(4)
    others = list(itertools.chain.from_iterable(free_ports(4) for _ in range(MANY // 4)))

    assert len({*mine, *others}) == 4 + MANY


def test_processes_that_look_at_once_find_different_ports() -> None:
    """Servers of several processes never meet, whenever they bind what they were given."""
    ports = [*free_ports(4)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        ports += map(int, process.stdout.readline().split())
    for process in processes:
        process.communicate("\n", timeout=30)

    assert len(set(ports)) == len(ports) == 4 + 2 * MANY
