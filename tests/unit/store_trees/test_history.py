"""The history in the store: brief about what follows, complete about what destroys, and bounded."""

from functools import partial
from typing import Any

from sqlalchemy import func, insert, select

from syncd.mail.flags import NONE
from syncd.reconcile.effects import Deliver, Expunge, Move, Remove, Rename, Store
from syncd.store.people.entries import Entry, Question
from syncd.store.people.recall import recall
from syncd.store.tables import own_tables, schema
from syncd.store.trees import history
from syncd.store.trees.history import EACH_MAX, RETENTION_S, SERVER, Happening, Outcome, Verb
from syncd.store.trees.server_tree import ObservedMessage
from tests.unit.store_trees.grove import NOW, Grove

MANY = EACH_MAX + 1


def tell(grove: Grove, *happenings: Happening, now: float = NOW, **more: Any) -> None:
    grove(partial(history.tell, happenings=happenings, now=now, mailbox_id=grove.inbox, **{"origin": SERVER, **more}))


def told(grove: Grove, **wanted: Any) -> tuple[Entry, ...]:
    return grove(partial(recall, question=Question(**{"limit": 1000, **wanted})))


def of_inbox(grove: Grove) -> list[Any]:
    columns = own_tables.history.c
    return grove.rows(select(own_tables.history).where(columns.mailbox_id == grove.inbox).order_by(columns.id))


def test_many_that_follow_are_one_row_and_what_destroys_is_one_each(grove: Grove) -> None:
    """Deliveries, and renames with the same flags, are counted; a few of other flags, and removals, stay themselves."""
    tell(grove, *(history.of(Deliver(n, NONE)) for n in range(MANY)))
    seen, flagged = frozenset({"\\Seen"}), frozenset({"\\Flagged"})
    tell(grove, *(history.of(Rename(n, n, seen if n % 20 else flagged)) for n in range(MANY + 2)))
    tell(grove, *(history.of(Remove(n, n)) for n in range(MANY)))

    rows = [(row.verb, row.detail, row.messages, row.message_id) for row in of_inbox(grove)]
    assert rows[:4] == [
        ("deliver", "", MANY, None),
        ("rename", "+\\Flagged", 1, 0),
        ("rename", "+\\Flagged", 1, 20),
        ("rename", "+\\Seen", MANY, None),
    ]
    assert rows[4:] == [("remove", "", 1, n) for n in range(MANY)]


def test_effects_are_told_in_the_words_of_the_plan(grove: Grove) -> None:
    """With the flags that change, and where to."""
    effects = (
        Store(1, 7, frozenset({"\\Seen", "a"}), frozenset({"\\Flagged"})),
        Move(2, 8, 5, "Archive/2025"),
        Expunge(3, 9, is_replaced=True),
        Expunge(4, 9),
    )
    tell(grove, *map(history.of, effects))

    assert [(row.verb, row.detail) for row in of_inbox(grove)] == [
        ("store", "+\\Seen +a -\\Flagged"),
        ("move", "to Archive/2025"),
        ("expunge", "replaced"),
        ("expunge", ""),
    ]


def test_old_rows_go_as_new_ones_come_and_never_many_at_once(grove: Grove) -> None:
    """Each call takes at most two for each that it writes, the oldest first, and none that is young enough."""
    grove(lambda conn: conn.execute(own_tables.history.delete()) and None)
    old, young = NOW - RETENTION_S - 1, NOW - RETENTION_S + 1
    values = {"origin": "server", "verb": "remove", "outcome": "done", "mailbox_id": grove.inbox}
    grove(
        lambda conn: (
            conn.execute(insert(own_tables.history), [{**values, "at": old}] * 5 + [{**values, "at": young}]) and None
        )
    )

    counts = []
    for _ in range(4):
        tell(grove, Happening(Verb.ADOPT))
        counts.append(grove.rows(select(func.count()).select_from(own_tables.history))[0][0])

    assert counts == [5, 4, 4, 5]
    assert min(row.at for row in of_inbox(grove)) == young


def test_message_is_followed_by_its_body_within_its_account(grove: Grove) -> None:
    """What has the same body in another mailbox of the account is told with it; another message is not."""
    (first,) = grove.plant(1)
    grove.observe(_observed(2))
    other = grove.message(2).id
    grove.observe(_observed(3), mailbox_id=grove.archive)
    (moved,) = (row.id for row in grove.rows(select(schema.server_message).where(_in(grove.archive))))
    body_id = grove.message(1).body_id
    grove(
        lambda conn: (
            conn.execute(
                schema.server_message.update().where(schema.server_message.c.id == moved).values(body_id=body_id)
            )
            and None
        )
    )
    tell(grove, *(Happening(Verb.VANISH, id_) for id_ in (first, other, moved)))

    assert [one.message for one in told(grove, message=str(first))] == [first, moved]
    assert [one.message for one in told(grove, message=str(moved))] == [first, moved]
    assert [one.message for one in told(grove, message=str(other))] == [other]
    assert told(grove, message="<nobody@example.org>") == ()


def test_what_a_server_says_is_kept_whatever_it_is(grove: Grove) -> None:
    """NUL, and what is no text at all, fit into no database; the line is there all the same."""
    tell(grove, Happening("append", 1, reason="over\0 quota \udcff 花"), outcome=Outcome.REFUSED)

    (row,) = of_inbox(grove)
    assert (row.outcome, row.reason) == ("refused", "over quota ? 花")


def test_limit_takes_the_newest_and_tells_of_more(grove: Grove) -> None:
    """One more than asked for says that these are not all; the order is that of time."""
    tell(grove, *(Happening("remove", n) for n in range(5)))
    where = grove.rows(select(schema.account.c.name).where(schema.account.c.id == grove.account_id))[0][0]

    assert [one.message for one in told(grove, account=where, limit=2)] == [2, 3, 4]
    assert [one.message for one in told(grove, mailbox=f"{where}/INBOX", since=NOW)] == [0, 1, 2, 3, 4]
    assert told(grove, account=where, since=NOW + 1) == ()


def _observed(uid: int) -> Any:
    return ObservedMessage(uid, NONE, 1, 20, 500 + uid)


def _in(mailbox_id: int) -> Any:
    return schema.server_message.c.mailbox_id == mailbox_id
