"""Bodies that nobody needs go, a sweep after they lost their name, and none that anybody may still want."""

import random
from functools import partial
from itertools import pairwise

from sqlalchemy import Connection, delete, select

from syncd.mail.tree import ReplicaState
from syncd.mail.uidset import UidSet
from syncd.store.bodies import bodies, sweeping
from syncd.store.due import recoveries
from syncd.store.tables.schema import base_message, body, journal, replica_message, server_message
from syncd.store.trees import accounts, server_tree
from tests.unit.store_trees.grove import NOW, UIDVALIDITY, Grove

DAY_S = 86400.0
LATER = NOW + 40 * DAY_S
BEFORE = LATER - 30 * DAY_S


def vanish(grove: Grove, uid: int, *, at: float = NOW) -> None:
    uids = UidSet.of([uid])
    grove(lambda conn: server_tree.record_vanished(conn, grove.inbox, UIDVALIDITY, uids, now=at))


def gone(grove: Grove, *, at: float = NOW) -> tuple[int, int]:
    """Plant a message and let its server expunge it; return its row and its body."""
    (message_id,) = grove.plant(1)
    vanish(grove, 1, at=at)
    return message_id, grove.message(1).body_id


def unneeded(grove: Grove, body_id: int) -> bool:
    page = grove(partial(sweeping.unneeded_page, after=body_id - 1, before=BEFORE, count=1))
    return body_id in {one.body_id for one in page.unneeded}


def sweep(grove: Grove, body_id: int) -> int:
    return grove(partial(sweeping.sweep, body_ids=[body_id], before=BEFORE)).bodies


def is_there(grove: Grove, body_id: int) -> bool:
    return bool(grove.rows(select(body.c.id).where(body.c.id == body_id)))


def test_body_loses_its_name_and_goes_with_the_next_sweep(grove: Grove) -> None:
    """The row of the message stays, for by it and its tombstones a file that comes back is known."""
    message_id, body_id = gone(grove)
    assert unneeded(grove, body_id)

    assert sweep(grove, body_id) == 0
    assert (is_there(grove, body_id), grove.message(1).body_id) == (True, None)

    assert sweep(grove, body_id) == 1
    assert not is_there(grove, body_id)
    assert grove.message(1).id == message_id


def test_what_went_lately_stays(grove: Grove) -> None:
    """By when it was deleted, not by when it came."""
    _, body_id = gone(grove, at=BEFORE + 1)

    assert not unneeded(grove, body_id)
    assert sweep(grove, body_id) == 0
    assert grove.message(1).body_id == body_id


def test_what_came_lately_stays(grove: Grove) -> None:
    """Also without any message: whoever stored it is about to name it."""
    octets = b"Subject: late %d\r\n\r\n" % grove.inbox
    body_id = grove.body(octets)
    grove(lambda conn: conn.execute(body.update().where(body.c.id == body_id).values(stored_at=BEFORE + 1)))
    assert not unneeded(grove, body_id)

    grove(lambda conn: conn.execute(body.update().where(body.c.id == body_id).values(stored_at=BEFORE - 1)))
    assert sweep(grove, body_id) == 1


def test_message_with_the_same_octets_keeps_them(grove: Grove) -> None:
    """One of two equal messages is there still."""
    grove.plant(1, 2)
    body_id = grove.message(1).body_id
    vanish(grove, 1)

    assert not unneeded(grove, body_id)
    assert sweep(grove, body_id) == 0
    assert grove.message(1).body_id == grove.message(2).body_id == body_id


def test_device_that_was_away_all_the_time_keeps_what_it_may_want_back(grove: Grove) -> None:
    """As long as it has the file, or has not settled what became of it."""
    (message_id,) = grove.plant(1)
    grove.deliver(grove.phone, message_id)
    vanish(grove, 1)
    body_id = grove.message(1).body_id
    assert not unneeded(grove, body_id)

    grove.set_state(grove.phone, message_id, ReplicaState.MISSING)
    assert not unneeded(grove, body_id)
    grove(lambda conn: conn.execute(delete(replica_message).where(replica_message.c.message_id == message_id)))
    assert not unneeded(grove, body_id)
    grove(lambda conn: conn.execute(delete(base_message).where(base_message.c.message_id == message_id)))
    assert unneeded(grove, body_id)


def test_what_is_wanted_back_stays_until_it_is_there(grove: Grove) -> None:
    """However long the server cannot be reached."""
    message_id, body_id = gone(grove)
    target = grove(partial(accounts.mailbox_by_id, mailbox_id=grove.inbox))
    grove(partial(recoveries.want_back, message_ids=[message_id], target=target, now=NOW))

    assert not unneeded(grove, body_id)
    assert sweep(grove, body_id) == 0
    grove(lambda conn: conn.execute(delete(journal).where(journal.c.message_id == message_id)))
    assert unneeded(grove, body_id)


def test_body_that_gets_a_name_again_while_it_is_swept_stays(grove: Grove) -> None:
    """Found by one who then asked a server for a while; and one that was removed is simply stored anew."""
    _, body_id = gone(grove)
    assert unneeded(grove, body_id)
    grove.plant(2)
    assert sweep(grove, body_id) == 0
    assert grove.message(2).body_id == body_id

    vanish(grove, 2)
    assert sweep(grove, body_id) == 0
    grove.observe(*[server_tree.ObservedMessage(3, frozenset(), 1, 20, 503)])
    third = grove.message(3).id
    grove(partial(server_tree.bind_bodies, mailbox_id=grove.inbox, bodies={third: body_id}))
    assert sweep(grove, body_id) == 0

    vanish(grove, 3)
    assert [sweep(grove, body_id), sweep(grove, body_id)] == [0, 1]
    (fourth,) = (id_ for id_ in grove.plant(4) if id_ == grove.message(4).id)
    again = grove.rows(select(server_message.c.body_id).where(server_message.c.id == fourth))[0][0]
    assert again != body_id
    assert grove(partial(bodies.read_bodies, ids=[again]))[again] == b"Subject: of %d\r\n\r\n" % grove.inbox


def test_pages_cover_every_body(grove: Grove) -> None:
    """Also where ids are missing between them; the last page says that there is no more."""
    _, body_id = gone(grove)
    seen, after = set[int](), 0
    while (page := grove(partial(sweeping.unneeded_page, after=after, before=BEFORE, count=2))).upto is not None:
        assert page.upto > after
        seen |= {one.body_id for one in page.unneeded}
        after = page.upto
    assert body_id in seen


def test_space_is_given_back_many_pages_at_a_time(grove: Grove) -> None:
    """As many as are asked for, until there are no more."""
    rng = random.Random(1)
    ids = [grove.body(b"Subject: x\r\n\r\n" + rng.randbytes(40_000)) for _ in range(10)]
    grove(lambda conn: conn.execute(delete(body).where(body.c.id.in_(ids))))
    if grove(lambda conn: conn.dialect.name) != "sqlite":
        assert not grove(partial(sweeping.give_back, pages=8))
        return

    free = [grove(_free_pages)]
    while grove(partial(sweeping.give_back, pages=8)):
        free.append(grove(_free_pages))

    assert [one - other for one, other in pairwise(free)] == [8] * (len(free) - 1)
    assert len(free) > 2
    assert grove(_free_pages) == 0


def _free_pages(conn: Connection) -> int:
    return int(conn.exec_driver_sql("PRAGMA freelist_count").scalar_one())
