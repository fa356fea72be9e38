"""A server set back to an older state under the same UIDVALIDITY: no message is lost, or mistaken for another."""

import datetime
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, select

from syncd.imap.news.observe import Rung
from syncd.reconcile.guard import Reason
from syncd.store.rounds import holds
from syncd.store.rounds.holds import Hold, HoldState
from syncd.store.tables import schema
from tests.contract.sync.conftest import CAPABILITIES
from tests.contract.sync.house import House, imap
from tests.contract.sync.liar import Liar
from tests.contract.sync.provider import Provider
from tests.contract.sync.replica import Replica
from tests.contract.sync.tap import Tap
from tests.servers.dovecot import Dovecot

SEEN, FLAGGED, ANSWERED = "\\Seen", "\\Flagged", "\\Answered"
OLD = tuple(f"old{number}" for number in range(8))
LATER = ("later0", "later1", "later2")
DEVICES = ("laptop", "phone")
_SIZE = re.compile(rb"(RFC822\.SIZE) (\d+)")
LONG_AGO = datetime.datetime(2020, 5, 17, 9, 30, tzinfo=datetime.UTC)


class Backed:
    """A provider with a backup of the OLD messages, and LATER ones that are not in it."""

    def __init__(self, provider: Provider, backup: Path) -> None:
        self.provider = provider
        self._backup = backup

    def back_up(self) -> None:
        """Fill the INBOX and back it up."""
        for number, key in enumerate(OLD):
            self.provider.receive(key, date=LONG_AGO + datetime.timedelta(days=number))
        self.provider.server.stop()
        self.provider.server.save_mail(self.provider.user, self._backup)
        self.provider.server.start()

    def set_back(self) -> None:
        """Restore the backup."""
        self.provider.server.stop()
        self.provider.server.restore_mail(self.provider.user, self._backup)
        self.provider.server.start()


@pytest.fixture(params=list(Rung), ids=lambda rung: rung.name.lower())
def backed(
    request: pytest.FixtureRequest, make_dovecot: Callable[..., Dovecot], mail_user: str, tmp_path: Path
) -> Backed:
    """Return a backed-up user on a server of its own that stands on the rung."""
    return _backed(make_dovecot(capability=CAPABILITIES[request.param]), mail_user, tmp_path)


@pytest.fixture
def any_backed(make_dovecot: Callable[..., Dovecot], mail_user: str, tmp_path: Path) -> Backed:
    """Return a backed-up user on a server of its own with all its capabilities."""
    return _backed(make_dovecot(), mail_user, tmp_path)


async def test_what_only_devices_have_is_held_however_little_it_is(tmp_path: Path, backed: Backed) -> None:
    """Files keep their names and nothing is downloaded; the three are held, over restarts too, and new mail comes."""
    user = backed.provider
    async with Tap(user.server.imap_port) as tap:
        house = _house(tmp_path, user, tap)
        async with house:
            await house.settle()
            user.receive(*LATER)
            user.store("old3", f"+FLAGS ({FLAGGED})")
            await house.settle()
            before = [_names(replica) for replica in house.replicas()]
            asked = len(tap.bodies)

        backed.set_back()
        async with house:
            await house.settle()

            assert [_names(replica) for replica in house.replicas()] == before
            assert tap.bodies[asked:] == []
            assert house.replica("laptop").flags()["old3"] == frozenset()
            held = await _holds(house)
            assert [(one.reason, one.state, len(one.effects)) for one in held] == [
                (Reason.SERVER_WENT_BACK, HoldState.HELD, 3)
            ] * 2

        user.receive("new0", "new1")
        house.replica("laptop").mark("later0", add="S")
        async with house:
            await house.settle()

            for replica, names in zip(house.replicas(), before, strict=True):
                assert _names(replica).items() >= names.items()
                assert replica.keys() == sorted((*OLD, *LATER, "new0", "new1"))
            assert [one.effects for one in await _holds(house)] == [one.effects for one in held]
            assert sorted(user.flags()) == sorted((*OLD, "new0", "new1"))


async def test_known_uids_that_name_other_messages_are_noticed(tmp_path: Path, backed: Backed) -> None:
    """As many came since the backup as were lost with it, so that no count fell but perhaps that of changes."""
    user = backed.provider
    house = _house(tmp_path, user)
    async with house:
        await house.settle()
        user.receive(*LATER)
        for key in OLD:
            user.store(key, f"+FLAGS ({SEEN})")
        await house.settle()
        before = [_names(replica) for replica in house.replicas()]

    backed.set_back()
    others = tuple(f"quite other {number}" for number in range(3))
    user.receive(*(key.replace(" ", "-") for key in others), lines=9)
    async with house:
        await house.settle()

        for replica, names in zip(house.replicas(), before, strict=True):
            assert _names(replica).items() >= names.items()
            assert replica.keys() == sorted((*OLD, *LATER, *(key.replace(" ", "-") for key in others)))
        assert [(one.reason, len(one.effects)) for one in await _holds(house)] == [(Reason.SERVER_WENT_BACK, 3)] * 2
        alive = select(func.count()).select_from(schema.server_message).where(schema.server_message.c.gone_at.is_(None))
        assert (await house.rows(alive))[0][0] == len(OLD) + 3


async def test_messages_that_are_put_back_on_the_server_dissolve_the_hold(tmp_path: Path, any_backed: Backed) -> None:
    """They may have other UIDs; each device keeps its one file, and those that are not back stay held."""
    user = any_backed.provider
    house = _house(tmp_path, user)
    async with house:
        await house.settle()
        user.receive(*LATER)
        await house.settle()
        before = [_names(replica) for replica in house.replicas()]

    any_backed.set_back()
    async with house:
        await house.settle()
        assert [len(one.effects) for one in await _holds(house)] == [3, 3]

        user.receive("other", LATER[1], flags=(ANSWERED,))
        await house.settle()
        assert [len(one.effects) for one in await _holds(house)] == [2, 2]
        assert house.replica("phone").flags()[LATER[1]] == {ANSWERED}

        user.receive(LATER[2], LATER[0])
        await house.settle()
        assert await _holds(house) == ()
        for replica, names in zip(house.replicas(), before, strict=True):
            assert {key: name for key, name in _names(replica).items() if key != "other"} == names
        assert len(user.flags()) == len(OLD) + 4


async def test_release_is_for_one_device_and_for_what_was_held(tmp_path: Path, any_backed: Backed) -> None:
    """The other device keeps the files, which may be the only ones there are."""
    user = any_backed.provider
    house = _house(tmp_path, user)
    async with house:
        await house.settle()
        user.receive(*LATER)
        await house.settle()

    any_backed.set_back()
    async with house:
        await house.settle()

        first, second = await _holds(house)
        assert await house.db.write(partial(holds.release_hold, hold_id=first.id))
        await house.settle()

        assert sorted(replica.keys() for replica in house.replicas()) == [list(OLD), sorted((*OLD, *LATER))][::-1]
        assert await _holds(house) == (second,)


async def test_file_that_its_device_removes_leaves_the_hold(tmp_path: Path, any_backed: Backed) -> None:
    """There is nothing left to ask for it."""
    user = any_backed.provider
    house = _house(tmp_path, user)
    async with house:
        await house.settle()
        user.receive(*LATER)
        await house.settle()

    any_backed.set_back()
    async with house:
        await house.settle()

        for key in LATER[:2]:
            house.replica("laptop").find(key).path.unlink()
        await house.settle()
        assert sorted(len(one.effects) for one in await _holds(house)) == [1, 3]

        house.replica("laptop").find(LATER[2]).path.unlink()
        await house.settle()
        assert [len(one.effects) for one in await _holds(house)] == [3]


async def test_server_that_is_empty_while_it_is_restored_loses_nothing(tmp_path: Path, provider: Provider) -> None:
    """All is held for as long as nothing is there, and when it is there again nothing is delivered twice."""
    provider.receive(*OLD)
    async with Tap(provider.server.imap_port) as tap, _house(tmp_path, provider, tap) as house:
        await house.settle()
        before = [_names(replica) for replica in house.replicas()]
        liar = Liar(tap, uidnext=1)

        provider.receive("new")
        liar.times = 1000
        await house.settle()
        held = await _holds(house)
        assert [(one.reason, len(one.effects)) for one in held] == [(Reason.SERVER_WENT_BACK, len(OLD))] * 2
        assert [_names(replica) for replica in house.replicas()] == before

        liar.times = 0
        provider.receive("newer")
        await house.settle()
        assert await _holds(house) == ()
        for replica, names in zip(house.replicas(), before, strict=True):
            assert _names(replica).items() >= names.items()
            assert replica.keys() == sorted((*OLD, "new", "newer"))


async def test_changes_that_were_taken_back_are_followed(tmp_path: Path, backed: Backed) -> None:
    """HIGHESTMODSEQ fell and UIDNEXT did not: flags are those of the server again, and nothing is held."""
    user = backed.provider
    house = _house(tmp_path, user)
    async with house:
        await house.settle()
        for key in OLD[:4]:
            user.store(key, f"+FLAGS ({FLAGGED})")
        user.store("old0", "-FLAGS (\\Seen)")
        await house.settle()
        before = [_names(replica) for replica in house.replicas()]

    backed.set_back()
    async with house:
        await house.settle()

        assert [_names(replica) for replica in house.replicas()] == before
        assert [replica.flags() for replica in house.replicas()] == [dict.fromkeys(OLD, frozenset())] * 2
        assert await _holds(house) == ()


async def test_deletion_by_a_device_never_takes_another_message(tmp_path: Path, any_backed: Backed) -> None:
    """What the device deleted had a UID that names another message by now."""
    user = any_backed.provider
    house = _house(tmp_path, user, delete="expunge")
    async with house:
        await house.settle()
        user.receive(*LATER)
        await house.settle()

    any_backed.set_back()
    user.receive("other0", "other1", "other2", lines=9)
    for key in ("old1", LATER[1]):
        house.replica("laptop").find(key).path.unlink()
    async with house:
        await house.settle()

        assert sorted(user.flags()) == sorted({*OLD, "other0", "other1", "other2"} - {"old1"})
        assert house.replica("phone").keys() == sorted({*OLD, *LATER, "other0", "other1", "other2"} - {"old1"})


async def test_flag_of_a_device_is_never_set_on_another_message(tmp_path: Path, backed: Backed) -> None:
    """A message that came since has the UID under which the device knows its own, and is new on the server, unread."""
    user = backed.provider
    house = _house(tmp_path, user)
    async with house:
        await house.settle()
        user.receive(*LATER)
        await house.settle()

    backed.set_back()
    user.receive("other0", "other1", "other2", lines=9)
    for key in ("old1", LATER[1]):
        house.replica("laptop").mark(key, add="F")
    async with house:
        await house.settle()

        flags = {key: {FLAGGED} if key == "old1" else set() for key in (*OLD, "other0", "other1", "other2")}
        assert user.flags() == flags
        assert house.replica("phone").flags() == flags | {key: set() for key in LATER}


async def test_server_that_counts_sizes_anew_has_the_same_messages(tmp_path: Path, provider: Provider) -> None:
    """Headers tell so, once; nothing is downloaded, and the next connection asks for none."""
    provider.receive(*OLD)
    async with Tap(provider.server.imap_port) as tap:
        house = _house(tmp_path, provider, tap)
        async with house:
            await house.settle()
            before = [_names(replica) for replica in house.replicas()]
            asked = len(tap.bodies)

        tap.says = lambda line: _SIZE.sub(lambda found: b"%s %d" % (found[1], int(found[2]) + 1), line)
        headers: list[int] = []
        for key in ("new", "newer"):
            provider.receive(key)
            tap.lines.clear()
            async with house:
                await house.settle()
            headers.append(sum(b"BODY.PEEK[HEADER]" in line for line in tap.lines))

        for replica, names in zip(house.replicas(), before, strict=True):
            assert _names(replica).items() >= names.items()
        assert sum(map(len, tap.bodies[asked:])) == 2
        assert headers[1] == 0
        async with house:
            assert await _holds(house) == ()


@pytest.mark.parametrize(
    "at", [b"BODY.PEEK[HEADER]", b"UID SEARCH", b"1:11 (UID FLAGS"], ids=["headers", "uids", "rows"]
)
async def test_cut_in_the_middle_ends_the_same(tmp_path: Path, any_backed: Backed, at: bytes) -> None:
    """The mailbox stays adrift until it is read as a whole; nothing is delivered or held by halves."""
    user = any_backed.provider
    async with Tap(user.server.imap_port) as tap:
        house = _house(tmp_path, user, tap)
        async with house:
            await house.settle()
            user.receive(*LATER)
            await house.settle()
            before = [_names(replica) for replica in house.replicas()]
        any_backed.set_back()
        cuts: list[bytes] = []

        async def cut(line: bytes) -> None:
            if at in line:
                cuts.append(line)
                raise ConnectionResetError

        tap.before_line = cut
        async with house:
            await house.until(lambda: len(cuts) > 1)
            assert await _holds(house) == ()
        tap.before_line = None
        async with house:
            await house.settle()
            assert [_names(replica) for replica in house.replicas()] == before
            assert [len(one.effects) for one in await _holds(house)] == [3, 3]


def _backed(server: Dovecot, user: str, directory: Path) -> Backed:
    backed = Backed(Provider(server, user), directory / "backup")
    backed.back_up()
    return backed


def _house(directory: Path, user: Provider, tap: Tap | None = None, **more: object) -> House:
    account = imap(user.server, user.user, port=tap.port if tap else None, **more)
    return House(directory, accounts={"work": account}, devices={name: {"settle": "20ms"} for name in DEVICES})


def _names(replica: Replica) -> dict[str, tuple[str, int]]:
    """Return name and inode of each letter's file."""
    keys = replica.keys()
    assert len(set(keys)) == len(keys), "a letter is there twice"
    found = {key: replica.find(key) for key in keys}
    return {key: (file.stem, file.inode) for key, file in found.items()}


async def _holds(house: House) -> tuple[Hold, ...]:
    return await house.db.read(holds.holds)
