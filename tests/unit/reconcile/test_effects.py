"""Effects as people and programs read them."""

import json
from typing import get_args

import pytest

from syncd.reconcile.effects import (
    ORDER,
    Agree,
    Append,
    Bind,
    Copy,
    Deliver,
    Effect,
    Expunge,
    Forget,
    Move,
    Recover,
    Remove,
    Rename,
    Restore,
    Shift,
    Store,
    as_json,
    as_text,
    from_json,
    in_order,
)
from tests.unit.reconcile.builders import flags

TEXTS: list[tuple[Effect, str]] = [
    (Deliver(1, flags("")), "deliver message 1"),
    (Deliver(1, flags("SF")), "deliver message 1 with \\Flagged \\Seen"),
    (Rename(1, 2, flags("S"), flags("a")), "rename file of message 1 +\\Seen -a"),
    (Remove(1, 2), "remove file of message 1"),
    (Shift(1, 2, 3, 4, "Archive"), "move file of message 1 to Archive"),
    (Store(1, 70, flags("ab"), flags("F")), "store flags of message 1 (uid 70) +a +b -\\Flagged"),
    (Move(1, 70, 2, "Trash"), "move message 1 (uid 70) to Trash"),
    (Move(1, 70, None, "Trash"), "move message 1 (uid 70) to Trash"),
    (Expunge(1, 70), "expunge message 1 (uid 70)"),
    (Expunge(1, 70, is_replaced=True), "expunge message 1 (uid 70), which was replaced"),
    (Restore(1, 2), "restore message 1, which its server deleted"),
    (Recover(1), "restore message 1, which a person wants back"),
    (Copy(1, 70, 31, "Archive"), "copy message 1 (uid 70) to Archive"),
    (Bind(1, 31), "know file 31 as that of message 1"),
    (Agree(1, remove=flags("S")), "agree on message 1 -\\Seen"),
    (Forget(1), "forget message 1"),
]


@pytest.mark.parametrize(("effect", "text"), TEXTS)
def test_text_is_one_line(effect: Effect, text: str) -> None:
    """Each effect is one line that tells everything but mailbox and device."""
    assert as_text(effect) == text


def test_file_that_is_sent_names_no_message() -> None:
    """It is none yet: the line tells the file and its size."""
    assert as_text(Append(31, 2041)) == "append file 31 (2,041 bytes)"
    assert json.loads(as_json(Append(31, 2041))) == {"verb": "append", "file_id": 31, "size_bytes": 2041}


@pytest.mark.parametrize("effect", [effect for effect, _ in TEXTS])
def test_json_has_the_verb_and_every_field(effect: Effect) -> None:
    """The JSON form names the verb, and flags are sorted lists."""
    read = json.loads(as_json(effect))

    assert read.pop("verb") == type(effect).__name__.lower()
    assert read["message_id"] == 1
    rebuilt = {name: frozenset(value) if isinstance(value, list) else value for name, value in read.items()}
    assert type(effect)(**rebuilt) == effect


@pytest.mark.parametrize("effect", [one for one, _ in TEXTS if isinstance(one, Remove | Move) or one == Expunge(1, 70)])
def test_effect_that_can_be_held_is_read_as_it_was_written(effect: Effect) -> None:
    """A hold gives back exactly what it was given; other effects are in none."""
    assert from_json(json.loads(as_json(effect))) == effect
    with pytest.raises(ValueError, match="not an effect that can be held"):
        from_json(json.loads(as_json(Forget(1))))


def test_every_effect_has_its_place_in_the_order() -> None:
    """One that is new is noticed here; what is equal in kind stays as it came."""
    assert sorted(kind.__name__ for kind in ORDER) == sorted(kind.__name__ for kind in get_args(Effect))

    mixed: list[Effect] = [Forget(3), Remove(2, 20), Restore(1, 10), Deliver(5, flags("")), Remove(1, 10), Append(9, 1)]
    assert in_order(mixed) == (
        Append(9, 1),
        Restore(1, 10),
        Remove(2, 20),
        Remove(1, 10),
        Deliver(5, flags("")),
        Forget(3),
    )
