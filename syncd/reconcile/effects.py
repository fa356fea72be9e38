"""Floor 2: effects: each planned change as a frozen value with a text form and a JSON form."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, assert_never

from syncd.mail.flags import NONE, Flags, delta_as_text, format_flags
from syncd.values import Value, asdict


class Deliver(Value):
    """Write a message of the server into a replica that does not have it."""

    message_id: int
    flags: Flags


class Rename(Value):
    """Change the flags in a replica file's name."""

    message_id: int
    file_id: int
    add: Flags = NONE
    remove: Flags = NONE


class Remove(Value):
    """Take a file out of a replica because the server no longer has its message.

    add, remove: what the device changed of a message that the server has elsewhere; it is to be so there.
    """

    message_id: int
    file_id: int
    add: Flags = NONE
    remove: Flags = NONE


class Drop(Value):
    """Take a file out of a replica because its device does not take the message any more; the server keeps it.

    add, remove: as of Remove.
    """

    message_id: int
    file_id: int
    add: Flags = NONE
    remove: Flags = NONE


class Shift(Value):
    """Move a file into the replica of another mailbox, where its server has the message now, as `successor_id`."""

    message_id: int
    file_id: int
    successor_id: int
    to_id: int
    to: str


class Store(Value):
    """Change flags of a message on the server."""

    message_id: int
    uid: int
    add: Flags = NONE
    remove: Flags = NONE


class Move(Value):
    """Move a message of the server to another mailbox there; to_id None: the server has none of that name."""

    message_id: int
    uid: int
    to_id: int | None
    to: str


class Expunge(Value):
    """Delete a message of the server for good; its body is in the store.

    is_replaced: the device that removed its file put another one in its place, so that this is no deletion.
    """

    message_id: int
    uid: int
    is_replaced: bool = False


class Restore(Value):
    """Put back a message that the server deleted, for its device changed it before it heard of that."""

    message_id: int
    file_id: int


class Recover(Value):
    """Bring back a deleted message that a person wants, out of the Trash or from the store."""

    message_id: int


class Append(Value):
    """Send a message that a device added to the server."""

    file_id: int
    size_bytes: int


class Copy(Value):
    """Have the server copy a message to another mailbox, where a device put a copy of its file."""

    message_id: int
    uid: int
    file_id: int
    to: str


class MakeMailbox(Value):
    """Make the mailbox on the server for which a device has a directory."""


class RenameMailbox(Value):
    """Rename a mailbox of the server whose directory a device has under another name."""

    mailbox_id: int


class DeleteMailbox(Value):
    """Delete a mailbox of the server whose directory a device removed, and in which nothing is left."""

    mailbox_id: int


class RestoreMailbox(Value):
    """Make the directory again that a device removed, for there is something in its mailbox."""

    mailbox_id: int


class Agree(Value):
    """Move the base where both sides made the same change by themselves; touches neither side."""

    message_id: int
    add: Flags = NONE
    remove: Flags = NONE


class Bind(Value):
    """Know an added file as that of a message that its mailbox has; touches neither side."""

    message_id: int
    file_id: int


class Forget(Value):
    """Drop base and replica row of a message that both sides deleted; touches neither side."""

    message_id: int


ReplicaEffect = Deliver | Rename | Remove | Drop
Departure = Move | Expunge
"""What takes a message out of a mailbox of the server because a device removed its file."""
Arrival = Append | Copy | Move | Bind | Recover
"""What makes a message of a file that a device added, or of one that was deleted."""
ServerEffect = Store | Restore | Departure | Append | Copy | Recover
BaseEffect = Agree | Forget | Bind
MailboxEffect = MakeMailbox | RenameMailbox | DeleteMailbox | RestoreMailbox
Effect = ReplicaEffect | Shift | ServerEffect | BaseEffect | MailboxEffect
ORDER: tuple[type[Effect], ...] = (
    MakeMailbox,
    RestoreMailbox,
    RenameMailbox,
    Append,
    Copy,
    Recover,
    Store,
    Restore,
    Move,
    Expunge,
    DeleteMailbox,
    Shift,
    Rename,
    Remove,
    Drop,
    Deliver,
    Bind,
    Agree,
    Forget,
)
"""What is done before what.

Mailboxes are there before what is in them, and go after it. To a server goes what is new, for it may take the place of
what leaves; then flags, then what is put back, and only then what leaves: a deletion comes after every change that may
be stronger. On a device a file moves before it would be removed and another written; and what goes makes room for what
comes. What touches no side is recorded at the end.
"""


Planned = TypeVar("Planned", bound=Effect)


def in_order(effects: Iterable[Planned]) -> tuple[Planned, ...]:
    """Return effects by `ORDER`, those of one kind as they came."""
    return tuple(sorted(effects, key=_rank))


def as_text(effect: Effect) -> str:
    """Return the one line that `syncd plan` prints, without mailbox and device."""
    match effect:
        case Deliver(message_id, flags):
            return f"deliver message {message_id}{_listed(flags)}"
        case Rename(message_id, _, add, remove):
            return f"rename file of message {message_id}{_delta(add, remove)}"
        case Remove(message_id, _, add, remove):
            return f"remove file of message {message_id}{_carried(add, remove)}"
        case Drop(message_id, _, add, remove):
            return f"drop file of message {message_id}, which the device does not take{_carried(add, remove)}"
        case Shift(message_id, _, _, _, to):
            return f"move file of message {message_id} to {to}"
        case Store(message_id, uid, add, remove):
            return f"store flags of message {message_id} (uid {uid}){_delta(add, remove)}"
        case Move(message_id, uid, _, to):
            return f"move message {message_id} (uid {uid}) to {to}"
        case Expunge(message_id, uid, is_replaced):
            return f"expunge message {message_id} (uid {uid})" + (", which was replaced" if is_replaced else "")
        case Restore(message_id, _):
            return f"restore message {message_id}, which its server deleted"
        case Recover(message_id):
            return f"restore message {message_id}, which a person wants back"
        case Append(file_id, size_bytes):
            return f"append file {file_id} ({size_bytes:,} bytes)"
        case Copy(message_id, uid, _, to):
            return f"copy message {message_id} (uid {uid}) to {to}"
        case Bind(message_id, file_id):
            return f"know file {file_id} as that of message {message_id}"
        case MakeMailbox():
            return "make the mailbox"
        case RenameMailbox(mailbox_id):
            return f"rename mailbox {mailbox_id} to this"
        case DeleteMailbox():
            return "delete the mailbox"
        case RestoreMailbox():
            return "make the directory of the mailbox again"
        case Agree(message_id, add, remove):
            return f"agree on message {message_id}{_delta(add, remove)}"
        case Forget(message_id):
            return f"forget message {message_id}"
        case _:
            assert_never(effect)


def as_json(effect: Effect) -> str:
    """Return the JSON object of an effect: its verb and its fields, flags as sorted lists."""
    fields = asdict(effect).items()
    plain = {name: sorted(value) if isinstance(value, frozenset) else value for name, value in fields}
    return json.dumps({"verb": type(effect).__name__.lower(), **plain})


def from_json(values: Mapping[str, Any]) -> Remove | Departure:
    """Return the effect that `as_json` wrote, of those that can be held; ValueError for another one."""
    match values:
        case {"verb": "remove", "message_id": message_id, "file_id": file_id}:
            return Remove(message_id, file_id)
        case {"verb": "move", "message_id": message_id, "uid": uid, "to_id": to_id, "to": to}:
            return Move(message_id, uid, to_id, to)
        case {"verb": "expunge", "message_id": message_id, "uid": uid}:
            return Expunge(message_id, uid)
    raise ValueError("not an effect that can be held")


_RANKS: Mapping[type[Effect], int] = {kind: rank for rank, kind in enumerate(ORDER)}


def _rank(effect: Effect) -> int:
    return _RANKS[type(effect)]


def _listed(flags: Flags) -> str:
    return f" with {format_flags(flags)}" if flags else ""


def _carried(add: Flags, remove: Flags) -> str:
    return f", and have it elsewhere with{_delta(add, remove)}" if add or remove else ""


def _delta(add: Flags, remove: Flags) -> str:
    return f" {delta_as_text(add=add, remove=remove)}" if add or remove else ""
