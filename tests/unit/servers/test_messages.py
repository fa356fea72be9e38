"""The generated mail has the sizes and the oddities it promises."""

import statistics

from tests.servers.delivery import Delivery
from tests.servers.dovecot import Dovecot
from tests.servers.messages import LARGEST_BYTES, Kind, Writer

SEED = 20_26


def test_the_same_seed_writes_the_same_mail() -> None:
    """A failure with a printed seed can be repeated."""
    assert list(Writer(SEED).corpus(50)) == list(Writer(SEED).corpus(50))
    assert list(Writer(SEED).corpus(50)) != list(Writer(SEED + 1).corpus(50))


def test_sizes_have_the_promised_median_and_mean() -> None:
    """The corpus weighs what real mailboxes weigh."""
    sizes = [len(message) for message in Writer(SEED).corpus(3_000)]

    assert 5_800 < statistics.median(sizes) < 7_400
    assert 22_000 < statistics.mean(sizes) < 37_000


def test_each_kind_is_as_odd_as_its_name() -> None:
    """Every kind has the octets that make it special."""
    mail = Writer(SEED).one_of_each()

    assert mail[Kind.EMPTY] == b""
    assert b"\r" not in mail[Kind.BARE_LF]
    assert mail[Kind.NO_HEADER].startswith(b"\r\n")
    assert not mail[Kind.NO_FINAL_LINE_END].endswith(b"\n")
    assert b"\r\n.\r\n" in mail[Kind.DOT_LINES]
    assert b"\r\nFrom " in mail[Kind.FROM_LINES]
    assert b"message-id" not in mail[Kind.NO_MESSAGE_ID].lower()
    assert max(map(len, mail[Kind.LONG_LINES].split(b"\r\n"))) > 2_000
    assert b"\xff\xfe" in mail[Kind.EIGHT_BIT]
    assert "Grüße".encode() in mail[Kind.UTF8_HEADER]
    assert all(b"\n" not in message.replace(b"\r\n", b"") for kind, message in mail.items() if kind != Kind.BARE_LF)


def test_no_line_is_longer_than_every_program_takes() -> None:
    """However large a message of whatever kind is, each program that is compared can retrieve it."""
    mail = (Writer(SEED).message(kind, LARGEST_BYTES) for kind in Kind)

    assert max(len(line) for message in mail for line in message.split(b"\n")) < 600_000


def test_a_server_takes_the_whole_corpus(dovecot: Dovecot, mail_user: str) -> None:
    """Nothing in the corpus is refused by APPEND."""
    messages = list(Writer(SEED).corpus(300))

    assert len(messages) == len(dovecot.deliver_all(mail_user, "INBOX", map(Delivery, messages)))
