"""Floor 2: effects: each planned change as a frozen value with a text form and a JSON form."""

import json
from dataclasses import dataclass, fields
from typing import assert_never

from syncd.mail.flags import NONE, Flags, format_flags


@dataclass(frozen=True, slots=True)
class Deliver:
    """Write a message of the server into a replica that does not have it."""

    message_id: int
    flags: Flags


@dataclass(frozen=True, slots=True)
class Rename:
    """Change the flags in a replica file's name."""

    message_id: int
    file_id: int
    add: Flags = NONE
    remove: Flags = NONE


@dataclass(frozen=True, slots=True)
class Remove:
    """Take a file out of a replica because the server no longer has its message."""

    message_id: int
    file_id: int


@dataclass(frozen=True, slots=True)
class Store:
    """Change flags of a message on the server."""

    message_id: int
    uid: int
    add: Flags = NONE
    remove: Flags = NONE


@dataclass(frozen=True, slots=True)
class Agree:
    """Move the base where both sides made the same change by themselves; touches neither side."""

    message_id: int
    add: Flags = NONE
    remove: Flags = NONE


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop base and replica row of a message that both sides deleted; touches neither side."""

    message_id: int


ReplicaEffect = Deliver | Rename | Remove
ServerEffect = Store
BaseEffect = Agree | Forget
Effect = ReplicaEffect | ServerEffect | BaseEffect


def as_text(effect: Effect) -> str:
    """Return the one line that `syncd plan` prints, without mailbox and device."""
    match effect:
        case Deliver(message_id, flags):
            return f"deliver message {message_id}{_listed(flags)}"
        case Rename(message_id, _, add, remove):
            return f"rename file of message {message_id}{_delta(add, remove)}"
        case Remove(message_id, _):
            return f"remove file of message {message_id}"
        case Store(message_id, uid, add, remove):
            return f"store flags of message {message_id} (uid {uid}){_delta(add, remove)}"
        case Agree(message_id, add, remove):
            return f"agree on message {message_id}{_delta(add, remove)}"
        case Forget(message_id):
            return f"forget message {message_id}"
        case _:
            assert_never(effect)


def as_json(effect: Effect) -> str:
    """Return the JSON object of an effect: its verb and its fields, flags as sorted lists."""
    values = {field.name: getattr(effect, field.name) for field in fields(effect)}
    plain = {name: sorted(value) if isinstance(value, frozenset) else value for name, value in values.items()}
    return json.dumps({"verb": type(effect).__name__.lower(), **plain})


def _listed(flags: Flags) -> str:
    return f" with {format_flags(flags)}" if flags else ""


def _delta(add: Flags, remove: Flags) -> str:
    return "".join(f" +{flag}" for flag in sorted(add)) + "".join(f" -{flag}" for flag in sorted(remove))
