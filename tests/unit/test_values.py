"""What every value promises, and what those promise that nobody may see."""

from dataclasses import dataclass, fields

import pytest

from syncd.imap.commands.appends import NewMessage
from syncd.imap.commands.bodies import Body
from syncd.imap.commands.headers import Header
from syncd.imap.wire.arguments import Literal
from syncd.sasl.mechanisms import Plain
from syncd.sync.body_batches import FetchedBody
from syncd.sync.device.contents import Content
from syncd.values import Opaque, Value, replace


class Place(Value):
    mailbox: str
    uid: int = 0


class Ticket(Value):
    mailbox: str
    uid: int = 0


@dataclass
class Mutable:
    name: str


def test_value_is_its_fields_and_stays_as_it_is() -> None:
    """Equal are values of one class with equal fields; nothing changes one that others may have."""
    place = Place("INBOX", 7)

    assert place == Place("INBOX", uid=7)
    assert place != Ticket("INBOX", 7)
    assert len({place, Place("INBOX", 7), Ticket("INBOX", 7)}) == 2
    with pytest.raises(AttributeError):
        place.uid = 8  # type: ignore[misc]


def test_one_replace_serves_values_and_dataclasses() -> None:
    """What has another field by then is a new one; a field that there is not is an error."""
    place, mutable = Place("INBOX", 7), Mutable("a")

    assert replace(place, uid=8) == Place("INBOX", 8)
    assert place.uid == 7
    assert replace(mutable, name="b") == Mutable("b")
    assert [field.name for field in fields(mutable)] == ["name"]
    with pytest.raises(TypeError):
        replace(place, uidl="x")


@pytest.mark.parametrize("kind", [NewMessage, Literal, Body, Header, Plain, FetchedBody, Content])
def test_mail_and_secrets_are_not_shown(kind: type[Opaque]) -> None:
    """What may end up in a log or in the text of an error says what it is, and nothing of what is in it."""
    canaries = ["canary"] * len(kind.__struct_fields__)

    assert repr(kind(*canaries)) == f"{kind.__name__}(...)"
