"""Keywords on all sides: more than a Maildir has letters, fewer than a server takes, and other letters elsewhere."""

import re
from pathlib import Path

import pytest

from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider
from tests.contract.sync.replica import Replica
from tests.contract.sync.tap import Tap
from tests.contract.sync.three_devices import add

SEEN, FLAGGED = "\\Seen", "\\Flagged"
_PERMANENT = re.compile(rb"\[PERMANENTFLAGS \([^)]*\)\]")


def house_of(directory: Path, user: Provider, *, port: int | None = None) -> House:
    devices = {"laptop": {"settle": "20ms"}, "phone": {"settle": "20ms", "layout": "fs"}}
    return House(directory, accounts={"work": imap(user.server, user.user, port=port)}, devices=devices)


def letter_of(replica: Replica, keyword: str) -> str:
    return next(letter for letter, name in replica.keywords().items() if name == keyword)


async def test_keywords_beyond_the_letters_follow_their_message_through_mailboxes(
    tmp_path: Path, user: Provider
) -> None:
    """Moved by a device and moved back by the server, a message keeps 30 keywords; letters are each mailbox's own."""
    names = {f"kw{number:02}" for number in range(30)}
    user.receive("a", flags=tuple(sorted(names)))
    user.receive("x", mailbox="Archive", flags=("other", "kw29"))
    async with house_of(tmp_path, user) as house:
        await house.settle()
        laptop, archive = house.replica("laptop"), house.replica("laptop", "Archive")
        file = laptop.find("a").path

        file.rename(archive.directory / "cur" / file.name)
        await house.settle()
        assert user.flags("Archive")["a"] == names
        for replica in house.replicas("Archive"):
            assert len(replica.keywords()) == 26
            assert replica.flags()["x"] == {"other", "kw29"}
            assert replica.flags()["a"] == names & set(replica.keywords().values())

        phone = house.replica("phone", "Archive")
        phone.mark("a", add="S" + letter_of(phone, "other"), remove=letter_of(phone, "kw29"))
        await house.settle()
        wanted = names - {"kw29"} | {SEEN, "other"}
        assert user.flags("Archive")["a"] == wanted

        user.move("a", mailbox="Archive", to="INBOX")
        await house.settle()
        assert user.flags()["a"] == wanted
        for replica in house.replicas():
            assert replica.flags()["a"] == wanted & {SEEN, *replica.keywords().values()}
        for replica in house.replicas("Archive"):
            assert replica.flags() == {"x": {"other", "kw29"}}


async def test_server_that_takes_no_new_keywords(tmp_path: Path, user: Provider) -> None:
    """What a device gives beyond PERMANENTFLAGS stays on that device, is never sent, and takes nothing along."""
    user.receive("a", "b", flags=("known",))

    def narrow(line: bytes) -> bytes:
        return _PERMANENT.sub(lambda _: b"[PERMANENTFLAGS (\\Seen \\Flagged known)]", line)

    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        tap.says = narrow
        await house.settle()
        laptop = house.replica("laptop")
        (laptop.directory / "dovecot-keywords").write_text("0 known\n1 mine\n")
        laptop.mark("a", add="FRb")
        laptop.mark("b", remove="a")
        add(house, "laptop", "n", letters="Rab")
        await house.settle()

        assert user.flags() == {"a": {"known", FLAGGED}, "b": set(), "n": {"known"}}
        assert not any(b"mine" in line for line in tap.lines)
        assert house.replica("phone").flags() == user.flags()
        kept = {"\\Answered", "known", "mine"}
        assert laptop.flags() == {"a": kept | {FLAGGED}, "b": set(), "n": kept}

        tap.says = bytes
        user.receive("later")
        await house.settle()
        user.store("a", "+FLAGS (\\Seen)")
        await house.settle()
        assert laptop.flags()["a"] == kept | {FLAGGED, SEEN}


@pytest.mark.parametrize("is_moved", [False, True], ids=["copied", "moved"])
async def test_file_of_a_message_that_went_meanwhile_has_its_keywords(
    tmp_path: Path, user: Provider, is_moved: bool
) -> None:
    """Its letters mean others in the mailbox that a program puts it into, and there is no message to copy any more."""
    user.receive("old")
    user.store("old", "+FLAGS (project)")
    user.receive("m", "n", mailbox="Box")
    user.store("m", "+FLAGS (todo)", mailbox="Box")
    async with House(tmp_path, accounts={"work": imap(user.server, user.user)}) as house:
        await house.settle()
    file = house.replica("laptop", "Box").find("m").path
    target = house.replica("laptop").directory / "cur" / file.name
    if is_moved:
        file.rename(target)
    else:
        target.with_name(f"1700000000.9.own:2,{file.name.partition(':2,')[2]}").write_bytes(file.read_bytes())

    user.expunge("m", mailbox="Box")
    async with house:
        await house.settle()

        assert user.flags() == {"old": {"project"}, "m": {"todo"}}
        assert house.replica("laptop").flags() == user.flags()
