"""Keywords of a replica's own programs: what they give, lose or spell oddly in `dovecot-keywords` is survived."""

from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.store.tables import schema
from tests.contract.sync.house import House, imap
from tests.contract.sync.provider import Provider
from tests.contract.sync.replica import Replica

SEEN, FLAGGED = "\\Seen", "\\Flagged"
DEVICES = ("laptop", "phone")


def house_of(directory: Path, user: Provider, devices: tuple[str, ...] = DEVICES, **device: object) -> House:
    tables = dict.fromkeys(devices, device)
    return House(directory, accounts={"work": imap(user.server, user.user)}, devices=tables)


def keywords_file(replica: Replica) -> Path:
    return replica.directory / "dovecot-keywords"


async def test_lost_list_of_keywords_comes_back(tmp_path: Path, user: Provider) -> None:
    """Without `dovecot-keywords` the letters mean what they meant: no keyword is taken back, no letter given twice."""
    user.receive("a", "b", flags=("important",))
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
    laptop = house.replica("laptop")
    before = laptop.keywords()
    keywords_file(laptop).unlink()

    async with house:
        await house.settle()
        assert laptop.keywords() == before
        laptop.mark("a", add="S")
        await house.settle()
        assert user.flags() == {"a": {"important", SEEN}, "b": {"important"}}

        user.store("b", "+FLAGS (later)")
        await house.settle()
        assert len(laptop.keywords()) == len(before) + 1
        assert laptop.flags() == user.flags() == {"a": {"important", SEEN}, "b": {"important", "later"}}


async def test_list_of_keywords_lost_while_we_run_comes_back(tmp_path: Path, user: Provider) -> None:
    """The list is put back at once where we hear of its loss."""
    user.receive("a", flags=("important",))
    async with house_of(tmp_path, user) as house:
        await house.settle()
        laptop = house.replica("laptop")
        before = laptop.keywords()

        keywords_file(laptop).unlink()
        await house.until(lambda: laptop.keywords() == before)


async def test_list_that_cannot_be_put_back_still_counts(tmp_path: Path, user: Provider) -> None:
    """While another program holds the lock of the list, the device goes on with the letters as they were."""
    user.receive("a", flags=("important",))
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
    laptop = house.replica("laptop")
    keywords_file(laptop).unlink()
    lock = laptop.directory / "dovecot-uidlist.lock"
    lock.write_text("1:elsewhere.example.org")

    async with house:
        laptop.mark("a", add="S")
        await house.settle()
        assert user.flags() == {"a": {"important", SEEN}}

        lock.unlink()
        await house.settle()
        assert set(laptop.keywords().values()) == {"important"}


@pytest.mark.parametrize("is_listed_first", [True, False], ids=["listed then named", "named then listed"])
async def test_keyword_that_a_program_gives_reaches_the_server(
    tmp_path: Path, user: Provider, *, is_listed_first: bool
) -> None:
    """A keyword added to the list and a letter added to a name are a flag at once, in either order."""
    user.receive("a", "b")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        laptop = house.replica("laptop")
        if not is_listed_first:
            laptop.mark("a", add="Sa")
            await house.until(lambda: user.flags()["a"] == {SEEN})

        written = laptop.directory / "dovecot-keywords.lock"
        written.write_text("0 foo\n")
        written.rename(keywords_file(laptop))
        if is_listed_first:
            laptop.mark("a", add="Sa")
        await house.until(lambda: user.flags()["a"] == {SEEN, "foo"})
        await house.settle()
        assert user.flags() == laptop.flags() == {"a": {SEEN, "foo"}, "b": set()}
        assert house.replica("phone").flags() == user.flags()


async def test_keyword_listed_while_we_are_stopped_is_read_of_names_that_stay(tmp_path: Path, user: Provider) -> None:
    """Names whose letters meant nothing are read again as soon as their letters mean something, also by a restart."""
    user.receive("a")
    house = house_of(tmp_path, user)
    laptop = house.replica("laptop")
    async with house:
        await house.settle()
        laptop.mark("a", add="a")
        await house.settle()
        assert user.flags() == {"a": set()}
    keywords_file(laptop).write_text("0 foo\n")

    async with house:
        await house.settle()
        assert user.flags() == laptop.flags() == house.replica("phone").flags() == {"a": {"foo"}}


async def test_list_that_came_later_and_is_written_under_another_name_is_read_by_who_asks(
    tmp_path: Path, user: Provider
) -> None:
    """The watch tells that it came, and nothing of what is written through a link elsewhere."""
    user.receive("a")
    async with house_of(tmp_path, user, ("laptop",)) as house:
        laptop = house.replica("laptop")
        await house.settle()
        laptop.mark("a", add="a")
        await house.settle()
        keywords_file(laptop).touch()
        await house.settle()
        (tmp_path / "list").hardlink_to(keywords_file(laptop))
        await house.settle()

        (tmp_path / "list").write_text("0 foo\n")
        await house.settle()
        assert user.flags() == {"a": {"foo"}}


async def test_keyword_is_noticed_by_polling(tmp_path: Path, user: Provider) -> None:
    """Without inotify a keyword of a device's program arrives as well."""
    user.receive("a")
    async with house_of(tmp_path, user, ("laptop",), watch="poll") as house:
        await house.settle()
        laptop = house.replica("laptop")
        keywords_file(laptop).write_text("0 foo\n")
        laptop.mark("a", add="a")
        await house.until(lambda: user.flags() == {"a": {"foo"}})


@pytest.mark.parametrize("name", [b"my keyword", b"caf\xc3\xa9", b"\xff\xfe", b"a\tb", b"per%20cent", b"\\Seen"])
async def test_odd_name_in_the_list_of_keywords_stops_nobody(tmp_path: Path, user: Provider, name: bytes) -> None:
    """A line that no server would take as a keyword keeps its letter and means nothing; all else goes on."""
    user.receive("a", "b")
    house = house_of(tmp_path, user)
    async with house:
        await house.settle()
    laptop = house.replica("laptop")
    keywords_file(laptop).write_bytes(b"0 " + name + b"\n")

    async with house:
        await house.settle()
        house.replica("phone").mark("a", add="F")
        laptop.mark("b", add="Sa")
        await house.settle()
        user.store("a", "+FLAGS (important)")
        await house.settle()

        assert user.flags() == {"a": {FLAGGED, "important"}, "b": {SEEN}}
        assert house.replica("phone").flags() == user.flags()
        assert keywords_file(laptop).read_bytes() == b"0 " + name + b"\n1 important\n"
        assert laptop.find("a").letters == "Fb"


async def test_message_with_more_new_keywords_than_letters_left(tmp_path: Path, user: Provider) -> None:
    """What finds no letter is not agreed on: neither row nor base says what the file cannot."""
    user.receive("full", flags=tuple(f"k{number}" for number in range(25)))
    user.receive("a")
    async with house_of(tmp_path, user, ("laptop",)) as house:
        await house.settle()
        user.receive("b", flags=("x1", "x2", "x3"))
        user.store("a", "+FLAGS (x1 x2 x3)")
        await house.settle()

        laptop = house.replica("laptop")
        held = {"x1", "x2", "x3"} & set(laptop.keywords().values())
        assert len(held) == 1
        assert laptop.flags()["a"] == laptop.flags()["b"] == held
        for table in (schema.replica_message, schema.base_message):
            agreed = [set(row.flags.split()) for row in await house.rows(select(table.c.flags))]
            assert sorted(map(len, agreed)) == [1, 1, 25]
            assert agreed.count(held) == 2

        laptop.mark("a", add="S")
        laptop.mark("b", add="S")
        await house.settle()
        assert user.flags()["a"] == user.flags()["b"] == {SEEN, "x1", "x2", "x3"}
