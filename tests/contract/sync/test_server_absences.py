"""What a server says is gone is looked at twice where it is extraordinary, and then judged for each device."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.mail.uidset import UidSet
from syncd.reconcile.guard import Reason
from syncd.store.rounds import holds
from syncd.store.rounds.holds import Hold, HoldScope, HoldState
from syncd.store.tables import schema
from tests.contract.sync.house import House, imap
from tests.contract.sync.liar import Liar, ListLiar
from tests.contract.sync.provider import Provider
from tests.contract.sync.replica import Replica
from tests.contract.sync.tap import Tap

DEVICES = ("laptop", "phone")
SOME = ("A", "B", "C", "D", "E", "F", "G")


@pytest.mark.parametrize("count", [1, 7, 60])
async def test_mailbox_that_is_empty_once_loses_nothing(tmp_path: Path, provider: Provider, count: int) -> None:
    """Whatever the size and the rung, a server that lists nothing at one SELECT and all at the next lost nothing."""
    provider.receive(*_keys(count))
    async with Tap(provider.server.imap_port) as tap, _house(tmp_path, provider, tap) as house:
        await house.settle()
        before = [_files(replica) for replica in house.replicas()]
        liar = Liar(tap)

        provider.receive("new")
        liar.times = 1
        await house.settle()

        assert liar.told == 1
        for replica, files in zip(house.replicas(), before, strict=True):
            assert _files(replica) > files
            assert replica.keys() == sorted((*_keys(count), "new"))
        assert await _holds(house) == ()


async def test_mailbox_that_lacks_most_of_its_mail_once_loses_nothing(tmp_path: Path, provider: Provider) -> None:
    """EXISTS, listings and searches that agree on twenty of sixty are doubted like an empty mailbox."""
    provider.receive(*_keys(60))
    async with Tap(provider.server.imap_port) as tap, _house(tmp_path, provider, tap) as house:
        await house.settle()
        before = [_files(replica) for replica in house.replicas()]
        liar = Liar(tap, here=UidSet.span(1, 20))

        provider.receive("new")
        liar.times = 1
        await house.settle()

        assert liar.told == 1
        assert all(_files(replica) > files for replica, files in zip(house.replicas(), before, strict=True))
        assert await _holds(house) == ()


async def test_messages_that_are_in_another_mailbox_now_are_not_doubted(tmp_path: Path, provider: Provider) -> None:
    """Somebody filed a whole mailbox in the web mail: that needs no second look, and each file stays the one it was."""
    provider.receive(*_keys(40))
    provider.receive("old", mailbox="Archive")
    house = _house(tmp_path, provider, devices=("laptop",), second_look_s=300.0)
    async with house:
        await house.settle()
        before = {inode for _, inode in _files(house.replica("laptop"))}

        provider.move(*_keys(40), to="Archive")
        await house.settle()

        assert house.replica("laptop").keys() == []
        assert {inode for _, inode in _files(house.replica("laptop", "Archive"))} > before
        assert await _holds(house) == ()


async def test_change_of_what_seems_to_be_gone_is_asked_for_once(tmp_path: Path, user: Provider) -> None:
    """While it is doubted that a message is gone, its flag is not stored again and again; then the message is back."""
    user.receive("a")
    async with Tap(user.server.imap_port) as tap, _house(tmp_path, user, tap, second_look_s=1.0) as house:
        await house.settle()

        async def expunge(line: bytes) -> None:
            if b"UID STORE 1 " in line and user.flags():
                user.expunge("a")

        tap.before_line = expunge
        house.replica("laptop").mark("a", add="F")
        await house.settle()

        assert user.flags() == {"a": {"\\Flagged"}}
        assert [replica.keys() for replica in house.replicas()] == [["a"]] * 2
        assert sum(b"UID STORE 1 " in line for line in tap.lines) == 1


async def test_mailbox_that_stays_empty_is_held_until_its_mail_is_back(tmp_path: Path, provider: Provider) -> None:
    """A lie told again and again is recorded and held on each device, also over a restart; the truth dissolves it."""
    provider.receive(*_keys(60))
    async with Tap(provider.server.imap_port) as tap:
        house = _house(tmp_path, provider, tap)
        liar = Liar(tap)
        async with house:
            await house.settle()
            before = [_files(replica) for replica in house.replicas()]
            provider.receive("new")
            liar.times = 1000
            await house.settle()

            assert [(one.reason, len(one.effects)) for one in await _holds(house)] == [(Reason.MAILBOX_EMPTIED, 60)] * 2
            assert [_files(replica) for replica in house.replicas()] == before
            held = await _holds(house)
        async with house:
            await house.settle()
            assert await _holds(house) == held

            liar.times = 0
            provider.receive("newer")
            await house.settle()

            assert await _holds(house) == ()
            for replica, files in zip(house.replicas(), before, strict=True):
                assert _files(replica) > files
                assert replica.keys() == sorted((*_keys(60), "new", "newer"))


async def test_search_that_lists_half_proves_no_absence(tmp_path: Path, provider: Provider) -> None:
    """EXISTS says that there is more, however often the search is asked."""
    provider.receive(*_keys(60))
    async with Tap(provider.server.imap_port) as tap, _house(tmp_path, provider, tap) as house:
        await house.settle()
        before = [_files(replica) for replica in house.replicas()]

        tap.says = lambda line: b"* SEARCH 1 2 3\r\n" if line.startswith((b"* SEARCH", b"* ESEARCH")) else line
        provider.receive("new")
        provider.expunge("m000")
        await house.ask()
        await house.ask()

        assert all(_files(replica) >= files for replica, files in zip(house.replicas(), before, strict=True))
        assert await _holds(house) == ()


async def test_vanished_that_a_search_contradicts_is_not_believed(tmp_path: Path, user: Provider) -> None:
    """The search finds them, so they are there; what QRESYNC says of this mailbox is not asked for again."""
    user.receive(*_keys(60))
    async with Tap(user.server.imap_port) as tap, _house(tmp_path, user, tap) as house:
        await house.settle()
        before = [_files(replica) for replica in house.replicas()]

        tap.says = lambda line: b"* VANISHED (EARLIER) 1:50\r\n" + line if b" EXISTS" in line else line
        user.receive("new")
        await house.settle()

        assert all(_files(replica) > files for replica, files in zip(house.replicas(), before, strict=True))
        assert await _holds(house) == ()


@pytest.mark.parametrize(
    ("names", "is_believed"),
    [(None, False), (frozenset({"INBOX"}), False), (frozenset(SOME[:6]), True)],
    ids=["empty", "without inbox", "short"],
)
async def test_list_is_believed_only_when_it_says_the_same_again(
    tmp_path: Path, provider: Provider, names: frozenset[str] | None, is_believed: bool
) -> None:
    """Once, it misses nothing; again, what mailboxes lose is held, and no file goes; the truth dissolves it."""
    for name in ("INBOX", *SOME):
        provider.receive("a", "b", mailbox=name)
    async with Tap(provider.server.imap_port) as tap, _house(tmp_path, provider, tap) as house:
        await house.settle()
        before = {name: _files(house.replica("laptop", name)) for name in ("INBOX", *SOME)}
        liar = ListLiar(tap, names=names)

        liar.times = 1
        await house.settle()
        assert liar.told == 1
        assert await _unlisted(house) == set()

        liar.times += 2
        await house.ask("work")
        assert await _unlisted(house) == (names if is_believed and names else set())
        await house.ask(*DEVICES)
        assert len(await _holds(house)) == (12 if is_believed else 0)

        provider.receive("c", mailbox="A")
        await house.settle()
        assert await _unlisted(house) == set()
        assert await _holds(house) == ()
        assert {name: _files(house.replica("laptop", name)) for name in before if name != "A"} == {
            name: files for name, files in before.items() if name != "A"
        }
        assert house.replica("laptop", "A").keys() == ["a", "b", "c"]


async def test_mailbox_that_only_list_lacks_is_there(tmp_path: Path, user: Provider) -> None:
    """A server that hides it still answers for it, and so it is synced."""
    user.receive("a", mailbox="A")
    async with Tap(user.server.imap_port) as tap, _house(tmp_path, user, tap) as house:
        await house.settle()
        liar = ListLiar(tap, names=frozenset({"A"}))
        liar.times = 1000
        tap.refuses = lambda _: False

        user.receive("b", mailbox="A")
        await house.settle()
        await house.ask()

        assert house.replica("laptop", "A").keys() == ["a", "b"]
        assert await _unlisted(house) == set()


async def test_two_of_eight_mailboxes_emptied_at_once_are_both_held(tmp_path: Path, provider: Provider) -> None:
    """However small they are; a message that another mailbox lost goes, and a release is for one of them only."""
    for name in ("INBOX", *SOME):
        provider.receive("a", "b", "c", mailbox=name)
    house = _house(tmp_path, provider, devices=("laptop",))
    async with house:
        await house.settle()
        provider.expunge("a", "b", "c", mailbox="C")
        provider.expunge("a", "b", "c", mailbox="F")
        provider.expunge("a", mailbox="D")
        await house.settle()

        assert [house.replica("laptop", name).keys() for name in "CDF"] == [
            ["a", "b", "c"],
            ["b", "c"],
            ["a", "b", "c"],
        ]
        held = await _holds(house)
        assert [(one.reason, len(one.effects)) for one in held] == [(Reason.MAILBOXES_EMPTIED, 3)] * 2

    async with house:
        await house.settle()
        assert await _holds(house) == held

        await _release(house, held[0])
        await house.settle()
        assert sorted(len(house.replica("laptop", name).keys()) for name in "CF") == [0, 3]
        assert await _holds(house) == held[1:]


async def test_devices_that_each_stay_below_the_limit_do_not_empty_an_account(tmp_path: Path, user: Provider) -> None:
    """Twenty each of sixty-six are sixty; the account lets the first twenty-five go and shows the rest to a person."""
    user.receive(*_keys(66))
    house = _house(tmp_path, user, devices=("laptop", "phone", "nas"))
    async with house:
        await house.settle()
        for number, replica in enumerate(house.replicas()):
            for key in _keys(66)[number * 20 : number * 20 + 20]:
                replica.find(key).path.unlink()
        await house.settle()

        left = len(user.flags())
        assert left >= 66 - 25
        found = await _holds(house)
        assert {(one.scope, one.reason, one.device_id) for one in found} == {
            (HoldScope.OF_ACCOUNT, Reason.TOO_MANY, None)
        }
        assert sum(len(one.effects) for one in found) == left - 6

    async with house:
        await house.settle()
        assert [one.message_ids for one in await _holds(house)] == [one.message_ids for one in found]
        assert len(user.flags()) == left

        for one in await _holds(house):
            await _release(house, one)
        await house.settle()
        assert sorted(user.flags()) == list(_keys(66)[60:])
        assert [replica.keys() for replica in house.replicas()] == [list(_keys(66)[60:])] * 3
        assert await _holds(house) == ()


async def test_one_release_is_enough_for_a_message_that_is_held_twice(tmp_path: Path, user: Provider) -> None:
    """What the account held and the device then holds with more goes once either is released, and no other with it."""
    user.receive(*_keys(30))
    account = imap(user.server, user.user)
    devices = {name: {"settle": "20ms"} for name in DEVICES}
    async with House(tmp_path, accounts={"work": account}, devices=devices, guard={"count": 5}) as house:
        await house.settle()
        laptop, phone = house.replicas()
        for replica, keys in ((laptop, _keys(30)[:5]), (phone, _keys(30)[5:10]), (phone, _keys(30)[10:20])):
            for key in keys:
                replica.find(key).path.unlink()
            await house.settle()
        held = {one.scope: one for one in await _holds(house)}
        assert {scope: len(one.effects) for scope, one in held.items()} == {
            HoldScope.OF_ACCOUNT: 5,
            HoldScope.BY_DEVICE: 15,
        }
        assert sorted(user.flags()) == list(_keys(30)[5:])

        await _release(house, held[HoldScope.OF_ACCOUNT])
        await house.settle()
        assert sorted(user.flags()) == list(_keys(30)[10:])
        assert laptop.keys() == list(_keys(30)[10:])
        (left,) = await _holds(house)
        assert (left.scope, len(left.effects)) == (HoldScope.BY_DEVICE, 10)

        await _release(house, left)
        await house.settle()
        assert sorted(user.flags()) == list(_keys(30)[20:])
        assert await _holds(house) == ()


async def test_hold_of_an_account_dissolves_when_the_files_are_put_back(tmp_path: Path, user: Provider) -> None:
    """What no device wants deleted any more leaves it."""
    user.receive(*_keys(60))
    async with _house(tmp_path, user) as house:
        await house.settle()
        backup = {
            file.path: file.octets
            for replica, keys in zip(house.replicas(), (_keys(60)[:20], _keys(60)[20:40]), strict=True)
            for file in map(replica.find, keys)
        }
        for path in backup:
            path.unlink()
        await house.settle()
        assert {one.scope for one in await _holds(house)} == {HoldScope.OF_ACCOUNT}

        for path, octets in backup.items():
            path.write_bytes(octets)
        await house.settle()
        assert await _holds(house) == ()
        assert sorted(user.flags()) == [*_keys(60)]  # also what one device had deleted before the other's were too many


def _house(
    directory: Path,
    user: Provider,
    tap: Tap | None = None,
    *,
    devices: Iterable[str] = DEVICES,
    second_look_s: float = 0.02,
) -> House:
    account = imap(user.server, user.user, port=tap.port if tap else None)
    return House(
        directory,
        accounts={"work": account},
        devices={name: {"settle": "20ms"} for name in devices},
        second_look_s=second_look_s,
    )


def _keys(count: int) -> tuple[str, ...]:
    return tuple(f"m{number:03}" for number in range(count))


def _files(replica: Replica) -> set[tuple[str, int]]:
    """Return name and inode of each file: what was removed and delivered again is another."""
    return {(file.stem, file.inode) for file in replica.files()}


async def _holds(house: House) -> tuple[Hold, ...]:
    return await house.db.read(holds.holds)


async def _release(house: House, hold: Hold) -> None:
    assert hold.state is HoldState.HELD
    assert await house.db.write(partial(holds.release_hold, hold_id=hold.id))


async def _unlisted(house: House) -> set[str]:
    gone = select(schema.mailbox.c.name).where(schema.mailbox.c.gone_at.is_not(None))
    return {row[0] for row in await house.rows(gone)}
