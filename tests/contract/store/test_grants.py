"""What providers granted for accounts, in both databases."""

from functools import partial

from syncd.store.engine.database import Database
from syncd.store.people import purging
from syncd.store.trees import accounts, grants


def made(database: Database, *names: str) -> list[int]:
    make = partial(accounts.ensure_account, kind="imap")
    return [database.write_now(partial(make, name=name, identity=name)) for name in names]


def granted(database: Database, account_id: int) -> str | None:
    return database.read_now(partial(grants.sealed_grant, account_id=account_id))


def put(database: Database, account_id: int, sealed: str) -> None:
    database.write_now(partial(grants.put_grant, account_id=account_id, sealed=sealed, now=1.0))


def renewed(database: Database, account_id: int, sealed: str, *, before: str) -> bool:
    renew = partial(grants.renew_grant, account_id=account_id, sealed=sealed, before=before, now=2.0)
    return database.write_now(renew)


def test_each_account_has_what_it_was_granted_last(database: Database) -> None:
    """A login takes the place of the one before, and touches no other account."""
    work, home = made(database, "work", "home")
    assert granted(database, work) is None

    put(database, work, "one")
    put(database, home, "other")
    put(database, work, "two")

    assert (granted(database, work), granted(database, home)) == ("two", "other")


def test_renewal_takes_the_place_of_nothing_but_what_it_renewed(database: Database) -> None:
    """Who logs in meanwhile has that, and not what comes of the access before."""
    (work,) = made(database, "work")
    put(database, work, "one")

    assert renewed(database, work, "two", before="one")
    put(database, work, "of a new login")
    assert not renewed(database, work, "three", before="two")

    assert granted(database, work) == "of a new login"


def test_what_was_granted_goes_with_its_account_and_stays_under_another_name(database: Database) -> None:
    """A purge leaves nothing of it, and a new account of that name has none; a renamed one goes on with it."""
    work, home = made(database, "work", "home")
    put(database, work, "one")
    put(database, home, "other")
    left = purging.Left(purging.Kind.ACCOUNT, "work", 0)

    database.write_now(partial(purging.purge, left=[left]))
    while database.write_now(partial(purging.remove_purged, count=10)):
        pass
    database.write_now(partial(accounts.rename_account, name="home", to="work"))

    assert granted(database, work) is None
    assert granted(database, home) == "other"
    assert database.read_now(partial(accounts.id_of, name="work")) == home
