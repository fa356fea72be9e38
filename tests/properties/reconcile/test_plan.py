"""What no plan ever contains, for any pair of rows and any policy."""

from hypothesis import given
from hypothesis import strategies as st

from syncd.mail.tree import (
    BaseMessage,
    BodyForm,
    Holdable,
    Pair,
    ReplicaMessage,
    ReplicaState,
    ServerMessage,
    Successor,
)
from syncd.reconcile.deletions import ForGood, ToTrash, differ_personally
from syncd.reconcile.effects import ORDER, Deliver, Drop, Expunge, Move, Remove, Rename, Restore, Store
from syncd.reconcile.planner import Policy, Selection, plan
from syncd.values import replace

flag_sets = st.frozensets(st.sampled_from(("\\Seen", "\\Flagged", "$Forwarded", "a", "B", "b")))
servers = st.builds(
    ServerMessage,
    st.just(1),
    st.just(10),
    flag_sets,
    st.integers(0, 3),
    st.integers(0, 3),
    st.one_of(st.none(), st.just(5)),
    st.just(1),
    is_gone=st.booleans(),
)
files = st.builds(
    ReplicaMessage,
    id=st.just(100),
    message_id=st.just(1),
    name=st.just("n"),
    info=st.none(),
    subdir=st.just("cur"),
    flags=flag_sets,
    state=st.sampled_from([state for state in ReplicaState if state is not ReplicaState.NEW]),
    size_bytes=st.just(1),
    mtime=st.just(1),
    form=st.sampled_from(BodyForm),
    version=st.just(1),
)
pairs = st.builds(
    Pair,
    st.one_of(st.none(), servers),
    st.one_of(st.none(), st.builds(BaseMessage, flag_sets)),
    st.one_of(st.none(), files),
    st.one_of(st.none(), st.sampled_from(Successor)),
)
limits = st.one_of(st.none(), st.integers(0, 3))
policies = st.builds(
    Policy,
    st.builds(Holdable, flag_sets, st.booleans()),
    st.builds(Holdable, flag_sets, st.booleans()),
    st.builds(Selection, limits, limits, st.booleans()),
    st.sampled_from((None, ForGood(), ToTrash(2, "Trash"), ToTrash(None, "Trash"))),
    st.sampled_from((frozenset[int](), frozenset({1}))),
    st.booleans(),
)


@given(pairs, policies)
def test_content_is_only_removed_where_the_server_expunged_it(pair: Pair, policy: Policy) -> None:
    """A file is removed only if its message is gone by the server's word, and never one that was edited or is new."""
    removed = [effect for effect in plan(pair, policy) if isinstance(effect, Remove)]

    if removed:
        assert pair.server is not None
        assert pair.server.is_gone
        assert pair.replica is not None
        assert pair.replica.state not in {ReplicaState.EDITED, ReplicaState.MISSING, ReplicaState.DELETED}


@given(pairs, policies)
def test_nothing_is_delivered_or_stored_for_what_is_gone(pair: Pair, policy: Policy) -> None:
    """A message that the server expunged is neither delivered nor changed; one without a body is not delivered."""
    for effect in plan(pair, policy):
        match effect:
            case Deliver():
                assert pair.server is not None
                assert not pair.server.is_gone
                assert pair.server.body_id is not None
            case Store() | Rename():
                assert pair.server is not None
                assert not pair.server.is_gone


@given(pairs, policies)
def test_what_a_device_did_otherwise_is_left_alone(pair: Pair, policy: Policy) -> None:
    """A missing or edited file, as long as its message lives, asks for nothing."""
    if pair.server is None or pair.server.is_gone or pair.replica is None:
        return
    if pair.replica.state in {ReplicaState.MISSING, ReplicaState.EDITED} and not policy.selection.takes_none:
        assert plan(pair, policy) == ()


@given(pairs, policies)
def test_what_is_put_back_was_deleted_by_the_server_and_changed_by_a_person(pair: Pair, policy: Policy) -> None:
    """It needs a file, the body in the store, and a flag that is stronger; what was moved is not put back."""
    for effect in plan(pair, policy):
        if isinstance(effect, Restore):
            assert pair.server is not None
            assert pair.base is not None
            assert pair.replica is not None
            assert pair.server.is_gone
            assert pair.server.body_id is not None
            assert pair.successor is None
            assert differ_personally(pair.replica.flags, pair.base.flags)


@given(pairs, policies)
def test_effects_are_in_order(pair: Pair, policy: Policy) -> None:
    """What one message asks for comes in the order in which it is done."""
    ranks = [ORDER.index(type(effect)) for effect in plan(pair, policy)]

    assert ranks == sorted(ranks)


@given(pairs, policies)
def test_only_what_the_server_keeps_and_the_device_does_not_take_is_dropped(pair: Pair, policy: Policy) -> None:
    """A dropped file is of a message that is on the server and in the store, and nothing of it is left to tell."""
    effects = plan(pair, policy)

    if any(isinstance(effect, Drop) for effect in effects):
        assert len(effects) == 1
        assert pair.server is not None
        assert not pair.server.is_gone
        assert pair.server.body_id is not None
        assert not policy.selection.takes(pair.server)
        assert pair.replica is not None
        assert pair.replica.state in {ReplicaState.PRESENT, ReplicaState.MOVING, ReplicaState.WITHDRAWN}
        told = plan(pair, replace(policy, selection=Selection()))
        assert not any(isinstance(effect, Store) for effect in told)


@given(pairs, policies)
def test_device_that_may_only_read_asks_the_server_for_nothing(pair: Pair, policy: Policy) -> None:
    """No flag, no deletion and no move of it reaches the server."""
    effects = plan(pair, replace(policy, is_read_only=True))

    assert not any(isinstance(effect, Store | Move | Expunge) for effect in effects)


@given(pairs, policies)
def test_server_loses_only_what_is_proven_to_be_deleted_and_safe(pair: Pair, policy: Policy) -> None:
    """A departure needs a concluded deletion, an agreed message, its body in the store, and no person's other wish."""
    for effect in plan(pair, policy):
        if isinstance(effect, Move | Expunge):
            assert policy.deletion is not None
            assert pair.server is not None
            assert pair.base is not None
            assert pair.replica is not None
            assert pair.replica.state is ReplicaState.DELETED
            assert not pair.server.is_gone
            assert pair.server.body_id is not None
            common = policy.server.part_of(policy.replica.part_of(pair.server.flags))
            assert not differ_personally(common, policy.server.part_of(policy.replica.part_of(pair.base.flags)))


@given(pairs, policies)
def test_no_side_is_given_what_it_cannot_hold(pair: Pair, policy: Policy) -> None:
    """Flags are added only where they can be stored, and never taken from a side for what the other cannot hold."""
    for effect in plan(pair, policy):
        match effect:
            case Store(add=add, remove=remove):
                assert policy.server.part_of(add) == add
                assert policy.replica.part_of(remove) == remove
            case Rename(add=add, remove=remove):
                assert policy.replica.part_of(add) == add
                assert policy.server.part_of(remove) == remove
            case Deliver(flags=flags):
                announced = pair.replica.flags if pair.replica else None
                assert flags == announced or policy.replica.part_of(flags) == flags
