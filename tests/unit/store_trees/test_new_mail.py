"""What a hook is told of new mail, from the history and the files that are there."""

from functools import partial
from typing import Any

from sqlalchemy import select

from syncd.mail.flags import NONE
from syncd.mail.tree import ReplicaState
from syncd.reconcile.effects import Append, Deliver, Remove, Shift
from syncd.store.people import hooks
from syncd.store.people.new_mail import NewMail, new_mail
from syncd.store.people.tallies import last_deed
from syncd.store.tables import own_tables, schema
from syncd.store.trees import history
from syncd.store.trees.devices import ReplicaRow
from syncd.store.trees.history import EACH_MAX, SERVER, Outcome
from tests.unit.store_trees.grove import NOW, Grove

SEEN = frozenset({"\\Seen"})


class Watched:
    """A grove, and what is new in it since now."""

    def __init__(self, grove: Grove) -> None:
        self.grove = grove
        self.after = grove(last_deed)
        self.account = str(self._name(schema.account, grove.account_id))
        self.laptop, self.phone = (self._name(schema.device, of.device_id) for of in (grove.laptop, grove.phone))

    def _name(self, table: Any, id_: int) -> str:
        return str(self.grove.rows(select(table.c.name).where(table.c.id == id_))[0][0])

    def deliver(self, of: ReplicaRow, *message_ids: int) -> None:
        """Deliver messages, and tell the history of it as a round does."""
        self.grove.deliver(of, *message_ids, flags=SEEN)
        self.tell(of, *(Deliver(id_, NONE) for id_ in message_ids))

    def tell(self, of: ReplicaRow, *effects: Any, outcome: Outcome = Outcome.DONE) -> None:
        where = {"mailbox_id": of.mailbox_id, "device_id": of.device_id, "outcome": outcome}
        told = [history.of(effect) for effect in effects]
        self.grove(partial(history.tell, happenings=told, now=NOW, origin=SERVER, **where))

    def news(self, *, limit: int = 100, accounts: tuple[str, ...] = (), devices: tuple[str, ...] = ()) -> NewMail:
        return self.grove(
            partial(
                new_mail,
                after=self.after,
                accounts=accounts or (self.account,),
                devices=devices or (self.laptop, self.phone),
                limit=limit,
            )
        )


def counts(news: NewMail) -> list[tuple[str, str, int]]:
    return [(one.device, one.mailbox, one.count) for one in news.mailboxes]


def test_deliveries_are_counted_for_each_device_and_named_with_their_files(grove: Grove) -> None:
    """Each device has its own; what is no delivery, or did not succeed, is no new mail."""
    watched, (first, second) = Watched(grove), grove.plant(1, 2)
    watched.deliver(grove.laptop, first, second)
    watched.deliver(grove.phone, first)
    watched.tell(grove.laptop, Remove(9, 9), Shift(8, 8, 8, 8, "x"), Append(7, 7))
    watched.tell(grove.laptop, Deliver(second, NONE), outcome=Outcome.REFUSED)

    news = watched.news()

    assert counts(news) == [(watched.laptop, "INBOX", 2), (watched.phone, "INBOX", 1)]
    assert (news.count, news.is_whole) == (3, True)
    assert [(one.device, one.id, one.uid, one.flags) for one in news.messages] == [
        (watched.laptop, first, 1, SEEN),
        (watched.laptop, second, 2, SEEN),
        (watched.phone, first, 1, SEEN),
    ]
    file, row = news.messages[0], grove.file(grove.laptop, first)
    assert (file.root, file.directory) == (f"/{watched.laptop}", grove.laptop.directory)
    assert (file.subdir, file.name, file.info) == (row.subdir, row.name, row.info)
    watched.after = news.upto
    assert watched.news() == NewMail(news.upto)


def test_what_is_gone_again_is_counted_and_not_named(grove: Grove) -> None:
    """A program would not find its file; all that is there is named still."""
    watched, (first, second) = Watched(grove), grove.plant(1, 2)
    watched.deliver(grove.laptop, first, second)
    grove.set_state(grove.laptop, first, ReplicaState.DELETED)

    news = watched.news()

    assert ([one.id for one in news.messages], news.count, news.is_whole) == ([second], 2, True)


def test_many_are_counted_and_the_newest_are_named(grove: Grove) -> None:
    """A first sync is a few lines, and says that it is cut."""
    watched, ids = Watched(grove), grove.plant(*range(1, EACH_MAX + 5))
    watched.deliver(grove.laptop, *ids[:-3])
    watched.deliver(grove.laptop, *ids[-3:])

    news, fewer = watched.news(), watched.news(limit=2)

    assert ([one.id for one in news.messages], news.count, news.is_whole) == (list(ids[-3:]), len(ids), False)
    assert [one.id for one in fewer.messages] == list(ids[-2:])


def test_limit_alone_says_that_there_are_more(grove: Grove) -> None:
    """One message more than are named is enough."""
    watched, ids = Watched(grove), grove.plant(1, 2, 3)
    watched.deliver(grove.laptop, *ids)

    assert [watched.news(limit=limit).is_whole for limit in (2, 3)] == [False, True]


def test_who_is_not_configured_gets_no_mail(grove: Grove) -> None:
    """What an account or a device had before it was paused concerns nobody, and is passed over."""
    watched, ids = Watched(grove), grove.plant(1)
    watched.deliver(grove.laptop, *ids)

    assert watched.news(devices=(watched.phone,)).count == 0
    assert watched.news(accounts=("another",)).count == 0
    assert watched.news(devices=(watched.phone,)).upto == grove(last_deed)


def test_history_that_was_dropped_before_it_was_told_is_said_to_be_missing(grove: Grove) -> None:
    """Where nobody could be told for months, what is left is told, and that it is not all."""
    watched, ids = Watched(grove), grove.plant(1, 2)
    watched.deliver(grove.laptop, *ids)
    grove(
        lambda conn: (
            conn.execute(own_tables.history.delete().where(own_tables.history.c.id <= watched.after + 1)) and None
        )
    )

    news = watched.news()

    assert ([one.id for one in news.messages], news.count, news.is_whole) == ([ids[1]], 1, False)


def test_hook_begins_now_goes_on_where_it_was_and_is_forgotten_with_its_name(grove: Grove) -> None:
    """Old mail is not told to a hook that is new, or that was taken out and comes back."""
    watched, (first, second, third) = Watched(grove), grove.plant(1, 2, 3)
    watched.deliver(grove.laptop, first)
    grove(partial(hooks.begin, names=("on_new_mail", "on_hold")))
    begun = grove(partial(hooks.told_upto, name="on_new_mail"))
    watched.deliver(grove.laptop, second)
    grove(partial(hooks.begin, names=("on_new_mail", "on_hold")))

    assert begun == grove(partial(hooks.told_upto, name="on_new_mail")) == watched.news().upto - 1
    grove(partial(hooks.advance, name="on_new_mail", upto=begun + 1))
    assert grove(partial(hooks.told_upto, name="on_new_mail")) == begun + 1

    grove(partial(hooks.begin, names=()))
    watched.deliver(grove.laptop, third)
    grove(partial(hooks.begin, names=("on_new_mail",)))
    assert grove(partial(hooks.told_upto, name="on_new_mail")) == watched.news().upto


def test_troubles_that_were_told_are_remembered_until_they_are_over_or_the_hook_is_forgotten(grove: Grove) -> None:
    """One at a time, and each only once; what a hook that is gone has still to record goes nowhere."""
    remembered = partial(hooks.told_troubles, name="on_error")
    grove(partial(hooks.begin, names=("on_error", "on_hold")))
    grove(partial(hooks.record_told, name="on_error", troubles=("a", "b", "a")))
    grove(partial(hooks.record_told, name="on_error", troubles=("b", "c")))
    grove(partial(hooks.record_told, name="on_hold", troubles=("a",)))
    assert grove(remembered) == {"a", "b", "c"}

    grove(partial(hooks.record_over, name="on_error", troubles=("a", "x")))
    assert grove(remembered) == {"b", "c"}

    grove(partial(hooks.begin, names=("on_hold",)))
    grove(partial(hooks.record_told, name="on_error", troubles=("b",)))
    grove(partial(hooks.begin, names=("on_error",)))
    assert grove(remembered) == frozenset()
