"""What each process of syncd works out of its statements and its configuration, worked out once for all of its forks.

Importing this is a whole life of a small house: mail arrives, devices change it, and all of it comes to rest. What
SQLAlchemy made of each statement then stays (`tests.statements`), and so does what pydantic made of the configuration.
That took each of them up to a fifth of a second. Where it fails nothing is gained, and a test tells why it would.
"""

import asyncio
import gc
import io
import shutil
import tempfile
from contextlib import redirect_stdout, suppress
from pathlib import Path

from tests.contract.sync.house import House, imap, pop3
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.servers.dovecot import Dovecot
from tests.statements import share_compiled

_SETTLE = {"settle": "20ms"}


async def _live(directory: Path, server: Dovecot) -> None:
    work, isp = Provider(server, "work"), Provider(server, "isp")
    work.receive("a", "b", "c", "d", flags=("\\Seen", "project"))
    work.receive("x", mailbox="Archive")
    isp.receive("i", "j")
    house = House(
        directory,
        accounts={"work": imap(server, work.user), "isp": pop3(server, isp.user)},
        devices={"laptop": _SETTLE, "phone": {**_SETTLE, "layout": "fs"}},
    )
    async with house:
        await house.settle()
        laptop = house.replica("laptop")
        laptop.mark("a", add="F")
        laptop.find("b").path.unlink()
        moved = laptop.find("c").path
        moved.rename(house.replica("laptop", "Archive").directory / "cur" / moved.name)
        (laptop.directory / "cur" / "1700000000.1.laptop:2,S").write_bytes(letter("n"))
        house.replica("phone", account="isp").find("i").path.unlink()
        work.receive("e")
        work.expunge("d")
        await house.settle()


def _warm() -> None:
    directory = Path(tempfile.mkdtemp(prefix="syncd-warmed-", dir="/tmp"))
    try:
        with suppress(Exception), Dovecot(directory / "dovecot", tls=False) as server:
            asyncio.run(_live(directory / "house", server))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


share_compiled()
with redirect_stdout(io.StringIO()):  # what is logged of it is of no test
    _warm()
gc.freeze()  # what is there stays as it is, in pages that all forks share
