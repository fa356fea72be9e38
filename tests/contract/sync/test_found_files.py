"""Files of which nobody knows yet whose they are hold up their own mailbox, and no other one."""

from pathlib import Path

from syncd.mail.tree import ReplicaState
from tests.contract.sync.house import House, MakeDovecot, imap, until_state
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap

FLAGGED = "\\Flagged"


async def test_file_follows_its_message_while_another_mailbox_has_files_of_which_nobody_knows(
    tmp_path: Path, user: Provider, make_dovecot: MakeDovecot
) -> None:
    """A directory that a program made waits for its server; elsewhere what is moved keeps what the device changed."""
    other = Provider(make_dovecot(), "other")
    user.receive("a", "b")
    user.receive("z", mailbox="Archive")
    other.receive("k")
    async with Tap(other.server.imap_port) as tap:
        accounts = {
            "work": imap(user.server, user.user),
            "other": imap(other.server, other.user, port=tap.port),
        }
        async with House(tmp_path, accounts=accounts, devices={"laptop": {"settle": "20ms"}}) as house:
            await house.settle()
            tap.drops = lambda line: b"SELECT" in line and b"Lists" in line
            directory = house.replica("laptop", "Lists", account="other").directory
            for subdir in ("tmp", "new", "cur"):
                (directory / subdir).mkdir(parents=True)
            (directory / "cur" / "1700000000.1.laptop:2,S").write_bytes(letter("n"))
            await until_state(house, ReplicaState.FOUND)

            user.move("a", to="Archive")
            house.replica("laptop").mark("a", add="F")
            await house.until(lambda: house.replica("laptop", "Archive").keys() == ["a", "z"])
            await house.until(lambda: house.replica("laptop").keys() == ["b"])
            assert house.replica("laptop", "Archive").flags()["a"] == {FLAGGED}
            await house.until(lambda: user.flags("Archive")["a"] == {FLAGGED})

            tap.drops = lambda line: False
            await house.settle()
            assert sorted(other.flags("Lists")) == ["n"]
