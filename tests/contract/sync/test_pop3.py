"""Mail of a POP3 account is on every device, its state is shared, and no interruption loses or doubles a message."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from syncd.errors import SyncdError
from tests.contract.sync.house import House, pop3
from tests.contract.sync.letters import ODD, letter
from tests.contract.sync.provider import Provider
from tests.contract.sync.tap import Tap
from tests.seed import SEED
from tests.servers.dovecot import Dovecot

DEVICES = ("laptop", "phone")
SEEN, FLAGGED = "\\Seen", "\\Flagged"


def house_of(directory: Path, user: Provider, *, port: int | None = None) -> House:
    return House(directory, accounts={"isp": pop3(user.server, user.user, port=port)}, devices=DEVICES)


async def test_drained_mail_is_unread_on_every_device(tmp_path: Path, user: Provider) -> None:
    """Every message is in INBOX of each device, unread, octet for octet; the maildrop is empty."""
    messages = [letter("a"), letter("b"), *ODD.values()]
    user.receive_raw(messages)
    served = [_as_served(body) for body in user.bodies()]

    async with house_of(tmp_path, user) as house:
        await house.settle()

        assert user.left_on_pop3() == 0
        for replica in house.replicas(account="isp"):
            assert Counter(_with_crlf(file.octets) for file in replica.files()) == Counter(served)
            assert {file.letters for file in replica.files()} == {""}
            assert {file.path.parent.name for file in replica.files()} == {"new"}
            assert replica.half_written() == []


async def test_read_on_one_device_is_read_on_all(tmp_path: Path, user: Provider) -> None:
    """The store plays the server: flags and keywords of one device reach the others within seconds."""
    user.receive("a", "b")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        laptop, phone = house.replicas(account="isp")

        laptop.mark("a", add="S")
        latency_s = await house.until(lambda: phone.flags()["a"] == {SEEN}, within_s=5.0)
        print(f"on the other device after {latency_s:.2f} s")
        phone.mark("a", remove="S", add="F")
        laptop.mark("b", add="S")
        phone.mark("b", add="F")
        await house.settle()

        for replica in (laptop, phone):
            assert replica.flags() == {"a": {FLAGGED}, "b": {SEEN, FLAGGED}}


async def test_state_is_shared_while_the_server_is_down(
    tmp_path: Path, mail_user: str, make_dovecot: Callable[..., Dovecot]
) -> None:
    """The maildrop is only needed for new mail."""
    server = make_dovecot()
    user = Provider(server, mail_user)
    user.receive("a")
    async with house_of(tmp_path, user) as house:
        await house.settle()
        server.stop()
        laptop, phone = house.replicas(account="isp")

        phone.mark("a", add="S")
        await house.until(lambda: laptop.flags()["a"] == {SEEN}, within_s=5.0)

        server.start()
        user.receive("b")
        await house.settle()
        assert laptop.flags() == {"a": {SEEN}, "b": set()}


async def test_equal_messages_stay_distinct(tmp_path: Path, user: Provider) -> None:
    """Two equal messages of one maildrop are two messages on every device; a later equal one is a third."""
    twin = letter("twin")
    user.receive_raw([twin, letter("other"), twin])
    async with house_of(tmp_path, user) as house:
        await house.settle()
        user.receive_raw([twin])
        await house.settle()

        for replica in house.replicas(account="isp"):
            assert replica.keys() == ["other", "twin", "twin", "twin"]


async def test_wire_cut_anywhere_loses_and_doubles_nothing(tmp_path: Path, user: Provider) -> None:
    """Wherever the server's answers end, the next sessions bring every message once and leave the maildrop empty."""
    print(f"SYNCD_SEED={SEED}")
    draw = random.Random(SEED)
    expected: list[str] = []
    async with Tap(user.server.pop3_port) as tap, house_of(tmp_path, user, port=tap.port) as house:
        await _settled(house)
        for attempt, position in enumerate(_positions(draw)):
            keys = [f"n{attempt}-{number}" for number in range(3)]
            user.receive(*keys)
            expected += keys
            tap.cut_after_bytes = position
            await _settled(house)

            assert user.left_on_pop3() == 0, f"cut after {position}"
            for replica in house.replicas(account="isp"):
                assert replica.keys() == sorted(expected), f"cut after {position}"
        print(f"{tap.cuts} cuts")
        assert tap.cuts >= 12


def _positions(draw: random.Random) -> list[int]:
    # NOTE: one session over three letters is about 1,200 octets of answers.
    return [draw.randrange(first, first + 55) for first in range(1, 1250, 55)]


async def _settled(house: House) -> None:
    for _ in range(5):
        try:
            await house.settle()
        except SyncdError:
            continue
        return
    raise AssertionError("does not settle")


def _as_served(message: bytes) -> bytes:
    """Return what Dovecot serves by POP3: CRLF everywhere, and a line end at the end."""
    crlf = _with_crlf(message)
    return crlf if crlf.endswith(b"\r\n") else crlf + b"\r\n"


def _with_crlf(message: bytes) -> bytes:
    return message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
