"""A first sync brings the newest mail first, and goes on where it was interrupted."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from syncd.errors import SyncdError
from syncd.mail.uidset import UidSet
from syncd.store.bodies.encoding import EncodedBody
from syncd.store.engine.database import Database
from syncd.store.tables import schema
from syncd.store.trees import server_tree
from syncd.sync import body_batches
from syncd.sync.imap import first_listing, next_bodies
from syncd.sync.imap import mailbox as imap_mailbox
from syncd.sync.imap.next_bodies import NextBodies
from tests.contract.sync.house import House, imap
from tests.contract.sync.letters import letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.seed import SEED
from tests.servers.dovecot_conf import FEW_SPECIAL_USE

COUNT = 600
DEVICES = ("laptop", "phone")
_LOOKED_AT_INBOX = (
    select(schema.replica.c.id)
    .join(schema.mailbox, schema.mailbox.c.id == schema.replica.c.mailbox_id)
    .where(schema.mailbox.c.name == "INBOX", schema.replica.c.listed_at.is_not(None))
)

_MAILBOXES = 1 + len(FEW_SPECIAL_USE)
"""With those that the server has from the start."""
_WITH_BODY = select(schema.server_message.c.id).where(schema.server_message.c.body_id.is_not(None))

_FLAGGED = select(schema.replica_message.c.id).where(schema.replica_message.c.flags.contains("Flagged"))


def house_of(directory: Path, user: Provider, *, port: int | None = None) -> House:
    return House(directory, accounts={"work": imap(user.server, user.user, port=port)}, devices=DEVICES)


def receive(user: Provider, count: int) -> list[str]:
    keys = [f"m{number:04}" for number in range(count)]
    user.receive_raw(letter(key, lines=40) for key in keys)
    return keys


async def test_newest_messages_come_first_in_every_mailbox(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest hundred of each mailbox are stored before the rest of any is listed; after them, newest first."""
    monkeypatch.setattr(first_listing, "_FEW_ROWS", 100)
    receive(user, 250)
    user.receive(*(f"s{number}" for number in range(150)), mailbox="Drafts")

    async with Tap(user.server.imap_port) as tap:
        house = house_of(tmp_path, user, port=tap.port)

        stored: list[int] = []
        is_rest_asked_for = threading.Event()

        async def before_listing(line: bytes) -> None:
            if b" UID SEARCH " in line:
                if not stored:  # what has not looked at its directory yet is fetched for later
                    await house.until_read(lambda ids: len(ids) == len(DEVICES), _LOOKED_AT_INBOX)
                stored.append(len(await house.rows(_WITH_BODY)))
                if len(stored) > _MAILBOXES:
                    is_rest_asked_for.set()

        def encode_slowly(*args: Any) -> tuple[EncodedBody, ...]:
            is_rest_asked_for.wait(0.2)
            return encode_all(*args)

        encode_all = body_batches.encode_all
        monkeypatch.setattr(body_batches, "encode_all", encode_slowly)
        tap.before_line = before_listing
        async with house:
            await house.settle()

    assert (stored[0], stored[_MAILBOXES]) == (0, 200)
    newest, rest = _split(tap.bodies, 200)
    assert newest[0].highest == 250
    # Both mailboxes number from 1.
    assert Counter(uid for uids in newest for uid in uids) == Counter([*range(151, 251), *range(51, 151)])
    assert Counter(uid for uids in rest for uid in uids) == Counter([*range(1, 151), *range(1, 51)])


async def test_few_messages_are_listed_at_once(tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mailbox of at most a few hundred is looked at once, and once more for the bodies that are not its newest.

    Its rows are asked for together with it; of one that is empty only whether it is. Nothing was moved from anywhere.
    """
    monkeypatch.setattr(imap_mailbox.ImapMailbox, "bind_bodies", None)  # to look for what was is an error
    receive(user, 150)
    user.receive("a", mailbox="Drafts")

    async def wait_for_devices(line: bytes) -> None:
        if b"SELECT" in line:  # for one that looks at its directory later, bodies are asked for once more
            await house.until_read(lambda ids: len(ids) == len(DEVICES), _LOOKED_AT_INBOX)

    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        tap.before_line = wait_for_devices
        await house.until_read(lambda ids: len(ids) == 151, _WITH_BODY)
        verbs = [line.partition(b" ")[2] for line in tap.lines]

    searches, listings = (
        [number for number, verb in enumerate(verbs) if verb.startswith(b"UID " + kind) and b"BODY" not in verb]
        for kind in (b"SEARCH", b"FETCH")
    )
    assert (len(searches), len(listings)) == (_MAILBOXES - 2, 2), verbs
    assert all(verbs[number - 1].startswith(b"SELECT") for number in (*searches, *listings))
    assert sum(verb.startswith(b"SELECT") for verb in verbs) == _MAILBOXES + 1, verbs


async def test_newest_bodies_are_asked_for_while_their_rows_are_recorded(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come in the same order; where another mailbox may have one of them as well, they wait for their rows."""
    user.receive("a", "b")
    user.copy("a", to="Drafts")
    user.receive("c", mailbox="Drafts")
    is_asked = threading.Event()
    were_asked: list[bool] = []
    record_messages = server_tree.record_messages

    def record_late(*args: Any, **rest: Any) -> Any:
        were_asked.append(is_asked.wait(10.0))
        return record_messages(*args, **rest)

    async def asked(line: bytes) -> None:
        if b"SELECT" in line:  # what has not looked at its directory yet is fetched for later
            await house.until_read(lambda ids: len(ids) == len(DEVICES), _LOOKED_AT_INBOX)
        if b"BODY.PEEK[]" in line:
            is_asked.set()

    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        tap.before_line = asked
        monkeypatch.setattr(server_tree, "record_messages", record_late)
        await house.settle()

        assert were_asked[0]
        assert [[*uids] for uids in tap.bodies] == [[1, 2], [2]]
        assert [replica.keys() for replica in house.replicas("Drafts")] == [["a", "c"]] * len(DEVICES)


async def test_rows_of_many_messages_are_asked_for_while_those_before_are_recorded(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account waits for none of them alone but the first, and lists once what it has selected all the while."""
    monkeypatch.setattr(first_listing, "_FEW_ROWS", 10)
    monkeypatch.setattr(first_listing, "_NEWEST", 10)
    monkeypatch.setattr(first_listing, "_ROWS_AT_ONCE", 20)
    keys = receive(user, 60)
    are_asked = [threading.Event() for _ in ("newest", "31:50", "11:30", "1:10")]
    were_next_asked: list[bool] = []
    record_messages = server_tree.record_messages

    def record_late(*args: Any, **rest: Any) -> Any:
        if are_asked[1].is_set():
            number = min(len(were_next_asked) + 2, len(are_asked) - 1)
            were_next_asked.append(are_asked[number].wait(10.0))
        return record_messages(*args, **rest)

    async def asked(line: bytes) -> None:
        if b"RFC822.SIZE" in line and b" 61:" not in line:
            next(one for one in are_asked if not one.is_set()).set()

    async with Tap(user.server.imap_port) as tap:
        account = imap(user.server, user.user, port=tap.port, mailboxes=["INBOX"])
        async with House(tmp_path, accounts={"work": account}, devices=DEVICES) as house:
            tap.before_line = asked
            monkeypatch.setattr(server_tree, "record_messages", record_late)
            await house.settle()

            assert were_next_asked == [True] * 3
            assert sum(b"UID SEARCH" in line for line in tap.lines) == 1, tap.lines
            assert house.replica(DEVICES[0]).keys() == keys


async def test_devices_have_their_turn_between_slices_of_bodies_that_are_found_at_once(
    tmp_path: Path, user: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is asked once which bodies are to come; what a device changes meanwhile waits for a slice at most."""
    monkeypatch.setattr(next_bodies, "_SLICE_BODIES", 100)
    receive(user, 300)
    found: list[int] = []
    ask = next_bodies.next_bodies

    def asking(*args: Any, **rest: Any) -> NextBodies:
        answer = ask(*args, **rest)
        found.extend([len(answer.wanted) + len(answer.later)] if answer.wanted else [])
        return answer

    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        flagged: list[str] = []

        async def flag(line: bytes) -> None:
            if b"SELECT" in line:
                await house.until_read(lambda ids: len(ids) == len(DEVICES), _LOOKED_AT_INBOX)
            if b"BODY.PEEK[]" in line and min(_asked(tap.bodies)) <= 200 and not flagged:
                replica = house.replica(DEVICES[0])
                await house.until(lambda: bool(replica.keys()))
                flagged.append(replica.keys()[-1])
                replica.mark(flagged[0], add="F")
                await house.until_read(bool, _FLAGGED)

        monkeypatch.setattr(imap_mailbox, "next_bodies", asking)
        tap.before_line = flag
        await house.settle()

        lines = [line.partition(b" ")[2] for line in tap.lines]
        stored = next(number for number, line in enumerate(lines) if line.startswith(b"UID STORE"))
        assert found == [100, 200]
        assert any(b"BODY.PEEK[]" in line for line in lines[stored:])
        assert Counter(uid for uids in tap.bodies for uid in uids) == Counter(range(1, 301))


async def test_cancelled_anywhere_it_goes_on_where_it_was(tmp_path: Path, user: Provider) -> None:
    """A first sync that is stopped again and again never fetches a body that the store already has."""
    print(f"SYNCD_SEED={SEED}")
    draw = random.Random(SEED)
    keys = receive(user, COUNT)
    stops = 0

    async with Tap(user.server.imap_port) as tap:
        house = house_of(tmp_path, user, port=tap.port)
        for _ in range(8):
            committed = await _stored_uids(house)
            tap.bodies.clear()
            async with house:
                try:
                    async with asyncio.timeout(draw.uniform(0.05, 0.6)):
                        await house.settle()
                    break
                except TimeoutError:
                    stops += 1
            assert not _asked(tap.bodies) & committed, "a body that was committed was fetched again"
        committed = await _stored_uids(house)
        tap.bodies.clear()
        async with house:
            await house.settle()
            assert not _asked(tap.bodies) & committed
            for replica in house.replicas():
                assert replica.keys() == keys
                assert replica.half_written() == []
    print(f"stopped {stops} times")


async def test_wire_cut_anywhere_it_goes_on_where_it_was(tmp_path: Path, user: Provider) -> None:
    """A connection that is lost again and again is a slower first sync with the same result."""
    print(f"SYNCD_SEED={SEED}")
    draw = random.Random(SEED)
    keys = receive(user, 300)

    async with Tap(user.server.imap_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        for _ in range(12):
            tap.cut_after_bytes = draw.randrange(1, 200_000)
            try:
                await house.settle()
            except SyncdError:
                continue
            user.receive(f"x{len(keys)}")
            keys.append(f"x{len(keys)}")
        tap.cut_after_bytes = None
        while True:
            try:
                await house.settle()
                break
            except SyncdError:
                continue

        print(f"{tap.cuts} cuts")
        for replica in house.replicas():
            assert replica.keys() == sorted(keys)
            assert replica.half_written() == []


async def test_message_expunged_between_listing_and_fetch(tmp_path: Path, provider: Provider) -> None:
    """A message that is gone before its body is fetched holds up nothing and is on no device."""
    provider.receive("a", "b", "c")
    async with Tap(provider.server.imap_port) as tap, house_of(tmp_path, provider, port=tap.port) as house:
        gone: list[bytes] = []

        async def expunge(line: bytes) -> None:
            if b"BODY.PEEK[]" in line and not gone:
                gone.append(line)
                provider.expunge("b")

        tap.before_line = expunge
        await house.settle()

        assert gone
        for replica in house.replicas():
            assert replica.keys() == ["a", "c"]
        assert await house.rows(select(schema.trouble)) == []


def _asked(bodies: Iterable[UidSet]) -> set[int]:
    return {uid for uids in bodies for uid in uids}


def _split(fetched: list[UidSet], count: int) -> tuple[list[UidSet], list[UidSet]]:
    """Return the first commands that together ask for `count` bodies, and the others."""
    total = 0
    for number, uids in enumerate(fetched, 1):
        total += len(uids)
        if total >= count:
            return fetched[:number], fetched[number:]
    return fetched, []


async def _stored_uids(house: House) -> set[int]:
    """Return the UIDs whose body is in the store of a house that is not entered."""
    path = house.config.store.sqlite_path
    if path is None or not path.exists():
        return set()
    url = house.config.store.url.get_secret_value()
    database = await asyncio.to_thread(Database.open, url)
    try:
        message = schema.server_message
        query = select(message.c.uid).where(message.c.body_id.is_not(None))
        return set(await database.read(lambda conn: list(conn.execute(query).scalars())))
    finally:
        await asyncio.to_thread(database.close)
