"""What `keep` says stays in the maildrop: retrieved once, deleted when its time comes and not before, never doubled."""

import random
import shutil
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from syncd.config.accounts import Pop3Config
from syncd.errors import SyncdError
from syncd.pop3.ingest import IngestLimits
from syncd.store.people.report import store_report
from syncd.store.tables import own_tables, schema
from syncd.store.trees import history
from tests.contract.sync.adopting import adopt, names
from tests.contract.sync.house import House, pop3
from tests.contract.sync.letters import letter
from tests.contract.sync.pop3_devices import DEVICES, QUICK, assert_everywhere, move, on, remove
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.contract.sync.test_rest import statements
from tests.seed import SEED
from tests.servers.dovecot import HOST
from tests.unit.pop3.scripted import Mail, Reply, ScriptedServer, Session

DAY_S = 86400.0


def house_of(directory: Path, user: Provider, keep: str, *, port: int | None = None) -> House:
    accounts = {"isp": pop3(user.server, user.user, port=port, keep=keep)}
    return House(directory, accounts=accounts, devices=dict.fromkeys(DEVICES, QUICK))


def set_keep(house: House, keep: str) -> None:
    """Change the configuration as an edit of its file does while a daemon runs."""
    was = house.config.accounts["isp"]
    table = was.model_dump(by_alias=True, exclude_unset=True) | {"keep": keep, "poll_interval": "2m"}
    house.accounts["isp"].adjust(Pop3Config.model_validate(table))  # type: ignore[arg-type]


def wake(house: House) -> None:
    """Let the account poll if it is time, as its timer does; whoever asks would have everything looked at anew."""
    house.accounts["isp"].adjust(house.config.accounts["isp"])  # type: ignore[arg-type]


def said(tap: Tap, verb: str) -> list[bytes]:
    return [line for line in tap.lines if line.startswith(verb.encode())]


async def kept(house: House) -> int:
    """Return how many messages the store says to be on the server as well."""
    report = await house.db.read(lambda conn: store_report(conn, troubles_max=10))
    (account,) = report.accounts
    return account.kept


async def test_message_is_deleted_on_the_server_when_its_days_are_over(tmp_path: Path, user: Provider) -> None:
    """Days count from when it was committed; what came later goes later, and the devices keep all of it."""
    user.receive("a", "b")
    async with house_of(tmp_path, user, "14d") as house:
        await house.settle()
        assert_everywhere(house, "INBOX", "a", "b")
        house.shift_s = 10 * DAY_S
        user.receive("c")
        await house.settle()
        house.shift_s = 14 * DAY_S - 3600
        await house.settle()
        assert (user.left_on_pop3(), await kept(house)) == (3, 3)

        house.shift_s = 14 * DAY_S + 1
        await house.settle()
        assert (user.left_on_pop3(), await kept(house)) == (1, 1)
        house.shift_s = 24 * DAY_S + 1
        await house.settle()

        assert (user.left_on_pop3(), await kept(house)) == (0, 0)
        assert_everywhere(house, "INBOX", "a", "b", "c")
        told = await house.rows(select(schema.uidl.c.state))
        assert [row.state for row in told] == ["deleted"] * 3


async def test_what_stays_for_ever_costs_one_listing_and_one_question(tmp_path: Path, user: Provider) -> None:
    """A poll retrieves, writes and deletes nothing, and asks the store as much for many as for few."""
    asked: dict[int, list[str]] = {}
    async with Tap(user.server.pop3_port) as tap, house_of(tmp_path, user, "forever", port=tap.port) as house:
        for keys in (["first"], [f"m{number}" for number in range(1200)]):
            user.receive(*keys, lines=1)
            await house.settle()
            house.shift_s += 400 * DAY_S
            tap.lines.clear()
            with statements() as collected:
                await house.ask("isp")
            asked[len(keys)] = sorted(one for one in collected if " uidl" in one)

            verbs = {line.split()[0] for line in tap.lines}
            assert verbs <= {b"CAPA", b"USER", b"PASS", b"STAT", b"LIST", b"UIDL", b"QUIT"}
        few, many = asked.values()
        assert few == many
        assert [one.split()[0] for one in many if "seen_at" in one] == ["SELECT"]
        assert not any(one.startswith(("INSERT", "UPDATE", "DELETE")) for one in many)
        assert (user.left_on_pop3(), await kept(house)) == (1201, 1201)


async def test_keep_that_is_changed_counts_from_the_next_poll(tmp_path: Path, user: Provider) -> None:
    """To "0d" it deletes what was kept, to "forever" it deletes no more, without a restart and without a download."""
    user.receive("a", "b", "c")
    async with Tap(user.server.pop3_port) as tap, house_of(tmp_path, user, "forever", port=tap.port) as house:
        await house.settle()
        assert user.left_on_pop3() == 3
        tap.lines.clear()

        set_keep(house, "0d")
        await house.settle()
        assert (user.left_on_pop3(), said(tap, "RETR")) == (0, [])

        set_keep(house, "forever")
        user.receive("d")
        await house.settle()
        assert user.left_on_pop3() == 1
        set_keep(house, "2d")
        await house.settle()
        assert user.left_on_pop3() == 1
        house.shift_s = 2 * DAY_S + 1
        await house.settle()
        assert user.left_on_pop3() == 0
        assert_everywhere(house, "INBOX", "a", "b", "c", "d")


async def test_keep_that_is_raised_during_a_session_saves_what_that_retrieves(tmp_path: Path, user: Provider) -> None:
    """A first drain may last for hours; nothing of it is deleted once its mail is to stay."""
    user.receive("a", "b", "c")
    async with Tap(user.server.pop3_port) as tap, house_of(tmp_path, user, "0d", port=tap.port) as house:

        def raise_it(line: bytes) -> bool:
            if line.startswith(b"RETR"):
                set_keep(house, "forever")
            return False

        tap.drops = raise_it
        await house.settle()

        assert (user.left_on_pop3(), said(tap, "DELE")) == (3, [])
        assert_everywhere(house, "INBOX", "a", "b", "c")


async def test_much_that_was_kept_goes_in_several_sessions(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that is cut loses a bounded part of the work; each is quit before the next begins."""
    limits = "syncd.sync.pop3.account._DELETIONS"
    monkeypatch.setattr(limits, 10)
    user.receive(*(f"m{number}" for number in range(25)))
    async with Tap(user.server.pop3_port) as tap, house_of(tmp_path, user, "forever", port=tap.port) as house:
        await house.settle()
        tap.lines.clear()

        set_keep(house, "0d")
        await house.ask("isp")

        verbs = [line.split()[0] for line in tap.lines if line.split()[0] in {b"DELE", b"QUIT"}]
        assert verbs == [b"DELE"] * 10 + [b"QUIT"] + [b"DELE"] * 10 + [b"QUIT"] + [b"DELE"] * 5 + [b"QUIT"]
        assert user.left_on_pop3() == 0


async def test_message_that_a_device_deleted_stays_deleted_while_the_server_keeps_it(
    tmp_path: Path, user: Provider
) -> None:
    """It is known by its UIDL, also after a restart, and stays on the server until its time."""
    user.receive("a", "b", "c")
    async with house_of(tmp_path, user, "14d") as house:
        await house.settle()
        remove(house, "laptop", "a")
        move(house, "phone", "b", "Sent")
        await house.until(lambda: on(house, "nas", "Trash").keys() == ["a"])
        remove(house, "nas", "a", mailbox="Trash")
        await house.settle()
        assert user.left_on_pop3() == 3
    async with house_of(tmp_path, user, "14d") as house:
        await house.settle()
        assert_everywhere(house, "INBOX", "c")
        assert_everywhere(house, "Trash")
        assert_everywhere(house, "Sent", "b")

        house.shift_s = 14 * DAY_S + 1
        await house.settle()
        assert user.left_on_pop3() == 0
        assert_everywhere(house, "INBOX", "c")


async def test_message_that_others_delete_on_the_server_stays_on_the_devices(tmp_path: Path, user: Provider) -> None:
    """That it is not listed is no deletion, and it is told no more as being on the server."""
    user.receive("a", "b")
    async with house_of(tmp_path, user, "forever") as house:
        await house.settle()
        user.expunge("a")
        await house.settle()

        assert_everywhere(house, "INBOX", "a", "b")
        assert await kept(house) == 1
        user.expunge("b")
        await house.settle()
        assert_everywhere(house, "INBOX", "a", "b")
        assert await kept(house) == 0


async def test_wire_cut_anywhere_keeps_and_deletes_what_it_should(tmp_path: Path, user: Provider) -> None:
    """Wherever the answers end: every message once on every device, what is kept kept, what is over deleted."""
    print(f"SYNCD_SEED={SEED}")
    draw = random.Random(SEED)
    positions = [draw.randrange(first, first + 110) for first in range(1, 1250, 110)]
    expected: list[str] = []
    async with Tap(user.server.pop3_port) as tap, house_of(tmp_path, user, "1d", port=tap.port) as house:
        await _settled(house)
        for attempt, position in enumerate(positions):
            for is_over in (False, True):
                if is_over:
                    house.shift_s += DAY_S + 1
                else:
                    keys = [f"n{attempt}-{number}" for number in range(3)]
                    user.receive(*keys)
                    expected += keys
                tap.cut_after_bytes = position
                await _settled(house)
                tap.cut_after_bytes = None

                assert user.left_on_pop3() == (0 if is_over else 3), f"cut after {position}"
                for replica in house.replicas(account="isp"):
                    assert replica.keys() == sorted(expected), f"cut after {position}"
        print(f"{tap.cuts} cuts")
        assert tap.cuts >= 12


@pytest.mark.parametrize("size", ["another size", "the same size"])
async def test_uidl_that_is_used_again_is_another_message(tmp_path: Path, size: str) -> None:
    """Its size tells, or that it was not listed in between; neither message is lost, and each is once."""
    second = letter("second!" if size == "another size" else "second")
    mails = [Mail("u", letter("primus")), Mail("v", letter("v"))]
    async with ScriptedServer(mails) as server, scripted_house(tmp_path, server) as house:
        await house.settle()
        if size == "the same size":
            server.mails = [Mail("v", letter("v"))]
            await house.settle()
        server.mails = [Mail("u", second), Mail("v", letter("v"))]
        await house.settle()

        keys = ["primus", "second!" if size == "another size" else "second", "v"]
        assert on(house, "laptop").keys() == keys
        set_keep(house, "0d")
        await house.settle()
        assert server.mails == []
        assert on(house, "laptop").keys() == keys


@pytest.mark.parametrize("uidl", ["refused", "doubled"])
async def test_messages_without_uidl_stay_and_are_not_retrieved_at_each_poll(tmp_path: Path, uidl: str) -> None:
    """Told apart by content once, they are believed for a day; new ones come, and all go when their time is over."""
    doubled = uidl == "doubled"
    mails = [Mail("same", letter(key)) for key in ("aa", "bb", "ccc")]

    def hook(_: Session, line: str) -> Reply | None:
        return Reply(b"-ERR no\r\n") if line == "UIDL" and not doubled else None

    async with ScriptedServer(mails, hook=hook) as server, scripted_house(tmp_path, server, keep="14d") as house:
        await house.settle()
        assert on(house, "laptop").keys() == ["aa", "bb", "ccc"]

        def retrieved() -> int:
            return sum(line.startswith("RETR") for session in server.sessions for line in session.commands)

        before = retrieved()
        for _ in range(2):
            house.shift_s += 600
            sessions = len(server.sessions)
            wake(house)
            await house.until(lambda sessions=sessions: len(server.sessions) > sessions and "QUIT" in server.commands)
        assert retrieved() == before
        server.mails.append(Mail("same", letter("dd")))
        house.shift_s += 600
        wake(house)
        await house.until(lambda: on(house, "laptop").keys() == ["aa", "bb", "ccc", "dd"])
        assert retrieved() == before + 1

        house.shift_s = 15 * DAY_S
        await house.settle()
        assert server.mails == []
        assert on(house, "laptop").keys() == ["aa", "bb", "ccc", "dd"]


@pytest.mark.parametrize("first", ["the devices", "the maildrop"])
async def test_lost_store_is_made_again_of_devices_and_maildrop(tmp_path: Path, user: Provider, first: str) -> None:
    """Whoever is heard first, what is in INBOX is there once, in the files that it had; what was filed is filed."""
    user.receive("a", "b", "c")
    async with Tap(user.server.pop3_port) as tap:
        async with house_of(tmp_path, user, "forever", port=tap.port) as house:
            await house.settle()
            move(house, "phone", "b", "Sent")
            on(house, "laptop").mark("c", add="S")
            await house.settle()
            assert_everywhere(house, "Sent", "b")
        files = {device: names(on(house, device)) for device in DEVICES}
        shutil.rmtree(tmp_path / "store")
        async with house_of(tmp_path, user, "forever", port=tap.port) as house:
            if first == "the devices":
                tap.drops = lambda line: line.startswith(b"USER")
                await adopt(house, *DEVICES)
                await house.until_read(lambda found: len(found) == 1, select(schema.server_message.c.id))
                tap.drops = lambda line: False
            else:
                await house.ask("isp")
                await adopt(house, *DEVICES)
            await house.settle()
            user.receive("d")
            await house.settle()

            # Of what the maildrop gave before a device was heard nobody can know that it was filed.
            again = ["b"] if first == "the maildrop" else []
            assert_everywhere(house, "INBOX", "a", *again, "c", "d")
            assert_everywhere(house, "Sent", "b")
            assert on(house, "nas").flags()["c"] == {"\\Seen"}
            assert all(set(files[device]) <= set(names(on(house, device))) for device in DEVICES)
            assert (user.left_on_pop3(), await kept(house)) == (4, 4)


@pytest.mark.parametrize("batch", [1, 500])
async def test_equal_messages_are_as_many_after_a_lost_store(
    batch: int, tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Devices have as many as the maildrop, filed or not, which gives them in one commit or in several."""
    monkeypatch.setattr("syncd.sync.pop3.account.IngestLimits", partial(IngestLimits, batch_messages=batch))
    user.receive("a", "a", "b", "b")
    async with Tap(user.server.pop3_port) as tap:
        async with house_of(tmp_path, user, "forever", port=tap.port) as house:
            await house.settle()
            for _ in range(2):
                move(house, "phone", "b", "Sent")
            await house.settle()
            assert_everywhere(house, "Sent", "b", "b")
        shutil.rmtree(tmp_path / "store")
        async with house_of(tmp_path, user, "forever", port=tap.port) as house:
            tap.drops = lambda line: line.startswith(b"USER")
            await adopt(house, *DEVICES)
            await house.until_read(lambda found: len(found) == 2, select(schema.server_message.c.id))
            tap.drops = lambda line: False
            await house.settle()

            assert_everywhere(house, "INBOX", "a", "a")
            assert_everywhere(house, "Sent", "b", "b")
            assert (user.left_on_pop3(), await kept(house)) == (4, 4)


async def test_mail_that_another_program_left_on_the_server_is_not_doubled(tmp_path: Path, user: Provider) -> None:
    """A Maildir with the same octets is the account's mail; twins that come later are messages of their own."""
    directory = tmp_path / "laptop" / ".isp.INBOX"
    for subdir in ("cur", "new", "tmp"):
        (directory / subdir).mkdir(parents=True)
    for key in ("a", "b"):
        (directory / "cur" / f"1700000000.{key}.host:2,S").write_bytes(letter(key).replace(b"\r\n", b"\n"))
    user.receive("a", "b", "c")
    async with house_of(tmp_path, user, "forever") as house:
        await adopt(house, "laptop")
        await house.settle()
        assert_everywhere(house, "INBOX", "a", "b", "c")

        user.receive("a")
        await house.settle()
        assert_everywhere(house, "INBOX", "a", "a", "b", "c")


async def test_history_tells_of_the_deletion_when_it_happens(tmp_path: Path, user: Provider) -> None:
    """Nothing is told of what stays."""
    user.receive("a")
    query = select(own_tables.history.c.verb)
    async with house_of(tmp_path, user, "1d") as house:
        await house.settle()
        assert history.Verb.DELE.value not in [row.verb for row in await house.rows(query)]

        house.shift_s = DAY_S + 1
        await house.settle()
        assert [row.verb for row in await house.rows(query)].count(history.Verb.DELE.value) == 1


def scripted_house(directory: Path, server: ScriptedServer, *, keep: str = "forever") -> House:
    where = {"host": HOST, "port": server.endpoint().port, "tls": "none", "poll_interval": "2m"}
    account = {"type": "pop3", "username": "ana", "password": "secret", "keep": keep, **where}
    return House(directory, accounts={"isp": account}, devices={"laptop": QUICK})


async def _settled(house: House) -> None:
    for _ in range(5):
        try:
            await house.settle()
        except SyncdError:
            continue
        return
    raise AssertionError("does not settle")
