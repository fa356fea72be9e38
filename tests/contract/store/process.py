"""What tests let another process do to a store: python -m tests.contract.store.process VERB URL."""

import asyncio
import itertools
import signal
import sys

from syncd.errors import StoreError
from syncd.store.engine import migrate
from syncd.store.engine.database import Database
from tests.contract.store.rows import add
from tests.contract.store.upgrading import upgrade


def own(url: str) -> None:
    """Own the store until stdin ends."""
    try:
        with Database.open(url, auto_migrate=True):
            print("owner", flush=True)
            sys.stdin.read()
    except StoreError as error:
        print(f"{type(error).__name__}: {error}", flush=True)


def migrate_now(url: str) -> None:
    """Bring the store to the head once a line is on stdin, however many others do the same."""
    print("ready", flush=True)
    sys.stdin.readline()
    upgrade(url)
    print(migrate.state(url).standing, flush=True)


def write_for_ever(url: str) -> None:
    """Write rows and print the name of each as soon as it is acknowledged."""

    async def one_after_the_other(database: Database, worker: int) -> None:
        for number in itertools.count():
            print(await database.write(add(f"{worker}-{number}")), flush=True)

    async def many(database: Database) -> None:
        async with asyncio.TaskGroup() as tasks:
            for worker in range(20):
                tasks.create_task(one_after_the_other(database, worker))

    asyncio.run(many(Database.open(url, auto_migrate=True)))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    verbs = {"own": own, "migrate": migrate_now, "write": write_for_ever}
    verbs[sys.argv[1]](sys.argv[2])
