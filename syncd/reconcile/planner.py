"""Floor 2: the planner: what one message, as the three trees have it, asks for.

Theory. A side that equals the base did not change; a side that differs did. For existence and for each flag by
itself that leaves no conflict: where both sides changed, they changed to the same. A deletion by the device is one only
once its row says so: a file that is merely missing asks for nothing. Against a change of flags that a person made on
the other side (`deletions`) a deletion loses, whoever deleted: the file is delivered again, or the message put back.
What a server moved is not deleted. A file of the device's own and an edit in place are noticed in the replica tree and
give no effect here. What a device does not take any more goes from it alone, and only once the server has all that the
device changed of it. A device that may only read is made what its server is. `conflicts` has what comes of what as a
table.

House rules. No I/O, no clock, no memory: the same pair and policy give the same effects, and after they are settled
the plan is empty.
"""

from typing import Protocol, assert_never

from syncd.mail.flags import NONE, Flags
from syncd.mail.tree import (
    NOT_THERE,
    SYNCED,
    UNDERWAY,
    BaseMessage,
    Holdable,
    Pair,
    ReplicaMessage,
    ReplicaState,
    ServerMessage,
    Successor,
)
from syncd.reconcile.deletions import Deletion, ForGood, ToTrash, differ_personally, is_personal
from syncd.reconcile.effects import Agree, Deliver, Drop, Effect, Expunge, Forget, Move, Remove, Rename, Restore, Store
from syncd.values import Value, replace


class Datable(Protocol):
    """A message, recorded or not, as far as it matters for whether a device takes it."""

    @property
    def internaldate(self) -> int: ...

    @property
    def size_bytes(self) -> int: ...


class Selection(Value):
    """Say which messages of a mailbox a device takes: not older, not larger; None means any. takes_none: it left."""

    not_before: int | None = None
    max_size_bytes: int | None = None
    takes_none: bool = False

    @property
    def is_limited(self) -> bool:
        """Tell whether a message may be outside."""
        return self != Selection()

    def takes(self, message: Datable) -> bool:
        if self.takes_none:
            return False
        if self.not_before is not None and message.internaldate < self.not_before:
            return False
        return self.max_size_bytes is None or message.size_bytes <= self.max_size_bytes


NOTHING = Selection(takes_none=True)


class Policy(Value):
    """Say what both sides of one replica can hold, what its device takes, and what a deletion there becomes.

    deletion: None where deletions by devices do not reach the server. outgrown: messages of which a file goes now if
    the device does not take them; other such files stay for the time being. is_read_only: the device changes nothing.
    """

    server: Holdable
    replica: Holdable
    selection: Selection
    deletion: Deletion | None = None
    outgrown: frozenset[int] = frozenset()
    is_read_only: bool = False


class FlagChanges(Value):
    """Hold what a three-way merge asks of server and replica, and what base learns from both."""

    server_add: Flags
    server_remove: Flags
    replica_add: Flags
    replica_remove: Flags
    base_add: Flags
    base_remove: Flags


def plan(pair: Pair, policy: Policy) -> tuple[Effect, ...]:
    """Return the effects that bring server, base and replica of one message together."""
    server, base, replica = pair.server, pair.base, pair.replica
    if server is None:
        return ()  # a file of the device's own
    if server.is_gone:
        return _plan_gone(server, base, replica, policy, pair.successor)
    is_taken = policy.selection.takes(server)
    if replica is None:
        if base is None and server.body_id is not None and is_taken:
            return (Deliver(server.id, policy.replica.part_of(server.flags)),)
        return ()
    if replica.state in UNDERWAY and server.body_id is not None:
        if replica.state is ReplicaState.WITHDRAWN and not is_taken:
            return (Drop(server.id, replica.id),)
        # NOTE: as it was announced, name and flags: it may be there, and the device may have changed it since.
        return (Deliver(server.id, replica.flags),)
    if replica.state in NOT_THERE and policy.selection.takes_none:
        return (Forget(server.id),)  # whether it was deleted does not matter any more
    if base is not None and replica.state is ReplicaState.DELETED:
        return _plan_deleted(server, base, replica, policy, pair.successor)
    if base is None or replica.state not in SYNCED:
        return ()  # what the device did is not told, or waits to be taken into the store
    effects = _plan_flags(server, base, replica, policy)
    if is_taken or not _may_go(server, policy) or any(isinstance(effect, Store) for effect in effects):
        return effects
    return (Drop(server.id, replica.id),)


def merge(server: Flags, base: Flags, replica: Flags) -> FlagChanges:
    """Return the per-flag three-way merge; keywords are one keyword in any case (RFC 9051 §2.3.2)."""
    spelling = {flag.lower(): flag for flags in (replica, base, server) for flag in flags}
    s, b, r = ({flag.lower() for flag in flags} for flags in (server, base, replica))

    def spelt(folded: set[str]) -> Flags:
        return frozenset(spelling[name] for name in folded)

    return FlagChanges(
        server_add=spelt(r - b - s),
        server_remove=spelt((b - r) & s),
        replica_add=spelt(s - b - r),
        replica_remove=spelt((b - s) & r),
        base_add=spelt((s & r) - b),
        base_remove=spelt(b - s - r),
    )


def is_wanted(server: ServerMessage, base: BaseMessage | None, replica: ReplicaMessage | None, policy: Policy) -> bool:
    """Tell whether a device changed its file in a way that is stronger than a deletion, and its server never had so."""
    if policy.is_read_only or base is None or replica is None or replica.state not in SYNCED:
        return False
    merged = merge(*(_common(flags, policy) for flags in (server.flags, base.flags, replica.flags)))
    return is_personal(merged.server_add | merged.server_remove)


def is_in_doubt(pair: Pair, policy: Policy) -> bool:
    """Tell whether a message is gone, and whether its server has moved it to where the device has it is known soon."""
    return pair.server is not None and pair.server.is_gone and _is_in_doubt(pair.server, pair.successor, policy)


def mirror(server: Flags, base: Flags, replica: Flags) -> FlagChanges:
    """Return what makes a replica what its server is, whatever it changed by itself."""
    undone = merge(server, replica, replica)
    return replace(
        merge(server, base, replica),
        server_add=NONE,
        server_remove=NONE,
        replica_add=undone.replica_add,
        replica_remove=undone.replica_remove,
    )


def _is_in_doubt(server: ServerMessage, successor: Successor | None, policy: Policy) -> bool:
    return successor is Successor.ON_ITS_WAY and policy.selection.takes(server)


def _may_go(server: ServerMessage, policy: Policy) -> bool:
    """Tell whether a file that the device does not take may go: the store must have its octets."""
    return server.body_id is not None and (policy.selection.takes_none or server.id in policy.outgrown)


def _plan_gone(
    server: ServerMessage,
    base: BaseMessage | None,
    replica: ReplicaMessage | None,
    policy: Policy,
    successor: Successor | None,
) -> tuple[Effect, ...]:
    if replica is None or replica.state in NOT_THERE:
        return (Forget(server.id),) if base or replica else ()
    if replica.state is ReplicaState.EDITED:
        return ()  # the edit exists nowhere else
    if _is_in_doubt(server, successor, policy):
        return ()  # what the device changed goes along, or is a wish to keep the message
    if successor is None and is_wanted(server, base, replica, policy) and server.body_id is not None:
        return (Restore(server.id, replica.id),)
    changes = (NONE, NONE)
    if successor is not None and base is not None and not policy.is_read_only:
        changed = merge(*(_common(flags, policy) for flags in (base.flags, base.flags, replica.flags)))
        changes = (changed.server_add, changed.server_remove)
    if policy.selection.takes_none and server.body_id is not None:
        return (Drop(server.id, replica.id, *changes),)  # it would go from the device anyhow
    return (Remove(server.id, replica.id, *changes),)


def _plan_deleted(
    server: ServerMessage,
    base: BaseMessage,
    replica: ReplicaMessage,
    policy: Policy,
    successor: Successor | None,
) -> tuple[Effect, ...]:
    if server.body_id is None:
        return ()  # custody: nothing is deleted of which the store has no copy
    # NOTE: as its row has it, name and flags, like a delivery that was announced; the merge then does the rest.
    kept = Deliver(server.id, replica.flags) if policy.selection.takes(server) else Forget(server.id)
    if policy.is_read_only:
        return (kept,)
    if successor is Successor.ON_ITS_WAY:
        return ()
    if differ_personally(_common(server.flags, policy), _common(base.flags, policy)):
        return (kept,)
    if successor is Successor.THERE and policy.deletion is not None:
        return (Expunge(server.id, server.uid, is_replaced=True),)
    match policy.deletion:
        case ToTrash(mailbox_id, name):
            return (Move(server.id, server.uid, mailbox_id, name),)
        case ForGood():
            return (Expunge(server.id, server.uid),)
        case None:
            return ()
        case _:
            assert_never(policy.deletion)


def _plan_flags(
    server: ServerMessage, base: BaseMessage, replica: ReplicaMessage, policy: Policy
) -> tuple[Effect, ...]:
    if server.flags == base.flags == replica.flags:
        return ()
    join = mirror if policy.is_read_only else merge
    merged = join(*(_common(flags, policy) for flags in (server.flags, base.flags, replica.flags)))
    effects: list[Effect] = []
    if merged.server_add or merged.server_remove:
        effects.append(Store(server.id, server.uid, merged.server_add, merged.server_remove))
    if merged.replica_add or merged.replica_remove:
        effects.append(Rename(server.id, replica.id, merged.replica_add, merged.replica_remove))
    if merged.base_add or merged.base_remove:
        effects.append(Agree(server.id, merged.base_add, merged.base_remove))
    return tuple(effects)


def _common(flags: Flags, policy: Policy) -> Flags:
    # NOTE: what one side cannot hold is compared on neither; else a 27th keyword would read as a removal.
    return policy.server.part_of(policy.replica.part_of(flags))
