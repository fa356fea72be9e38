"""Which troubles a hook is told: each once, whatever is tried again, and none that is over before it matters."""

from collections.abc import Collection

import pytest

from syncd.config.model import Config
from syncd.daemon.hooks.troubles import (
    Patience,
    Standing,
    StoredErrors,
    Trouble,
    auth_errors,
    held_messages,
    other_errors,
)
from syncd.daemon.status.remedies import account_remedy
from syncd.errors import (
    DeviceAwayError,
    FileError,
    LoginRefusedError,
    RefusedError,
    SecretError,
    SyncdError,
    Temper,
    TrustError,
    UnreachableError,
    cause_of,
)
from syncd.reconcile.effects import Remove
from syncd.reconcile.guard import Reason
from syncd.store.people.report import HoldReport
from syncd.store.rounds.holds import Hold, HoldScope, HoldState
from syncd.store.trees.devices import AWAY, FOREIGN
from syncd.sync.activity import IDLE, Activities, Activity
from syncd.values import replace

AT = 1_700_000_000.0
WAITING = Trouble("lost", "nothing", "account", waiting_helps=True, account="work")
LASTING = replace(WAITING, waiting_helps=False)
PATIENCE_S = 60.0
ACCOUNT = {"type": "imap", "host": "h", "username": "u", "password": "p"}
CONFIG = Config.model_validate(
    {
        "store": {"url": "sqlite:////s/syncd.db"},
        "daemon": {"socket": "/s/sock"},
        "accounts": {"work": ACCOUNT, "isp": ACCOUNT | {"username": "i"}},
        "devices": {"laptop": {"path": "/m/laptop"}},
    }
)


class Watcher:
    """Ask again and again, as a hook does that is always told at once."""

    def __init__(self, told: Collection[str] = (), patience_s: float = PATIENCE_S) -> None:
        self._patience = Patience(patience_s, patience_s)
        self.told = frozenset(told)

    def at(self, now: float, **standing: Trouble) -> list[str]:
        """Return what is told then."""
        return self.see(now, Standing(standing))

    def see(self, now: float, standing: Standing) -> list[str]:
        due, over = self._patience.judge(standing, self.told, now=now, at=AT + now)
        self.told = (self.told - over) | due.keys()
        return list(due)


def test_trouble_that_waiting_helps_is_told_once_it_has_lasted() -> None:
    """A network that is away for some seconds is not worth a word, one that is away for long is worth one."""
    watcher = Watcher()

    assert [watcher.at(now, a=WAITING) for now in (0, 59, 60, 61, 5000)] == [[], [], ["a"], [], []]
    assert [watcher.at(now, **({"b": WAITING} if now != 6030 else {})) for now in (6000, 6030, 6061)] == [[], [], []]


def test_trouble_that_waiting_does_not_help_is_told_at_once_and_once() -> None:
    """However often it is tried again meanwhile."""
    watcher = Watcher()

    assert [watcher.at(now, a=LASTING) for now in (0, 1, 900, 1800)] == [["a"], [], [], []]


def test_trouble_that_comes_and_goes_is_one_and_after_a_rest_another() -> None:
    """A server that flaps is told of once, and again when all was well for a while."""
    watcher = Watcher()

    assert watcher.at(0, a=LASTING) == ["a"]
    assert [watcher.at(now, **({"a": LASTING} if now % 2 else {})) for now in range(1, 50)] == [[]] * 49
    assert watcher.at(111) == []
    assert watcher.told == frozenset()
    assert watcher.at(112, a=LASTING) == ["a"]


def test_trouble_that_is_away_for_each_try_has_lasted() -> None:
    """An account that is let in and fails again, a device that fails at the end of each long look: it is the same."""
    let_in, looked_at = Watcher(), Watcher()
    failing, looking = Standing({"a": WAITING}), Standing({}, unknown=frozenset({"a"}))

    assert [let_in.at(now, **({"a": WAITING} if now % 9 else {})) for now in range(60)] == [[]] * 60
    assert let_in.at(61, a=WAITING) == ["a"]
    assert [looked_at.see(now, one) for now, one in ((0, failing), (1, looking), (200, looking))] == [[]] * 3
    assert looked_at.see(201, failing) == ["a"]


def test_trouble_of_before_a_restart_is_not_told_again_and_is_over_when_that_is_proven() -> None:
    """Right after a start nobody fails yet; what is not known to be over was told already."""
    watcher = Watcher(told={"a"})
    starting = Standing({}, unknown=frozenset({"a"}))

    assert [watcher.see(now, starting) for now in (0, 100)] == [[], []]
    assert watcher.at(101, a=LASTING) == []
    assert [watcher.see(now, Standing({})) for now in (102, 161)] == [[], []]
    assert watcher.told == frozenset()


def test_messages_that_are_too_many_to_look_at_are_not_over() -> None:
    """What is beyond the page that is looked at still stands; what is no message is over all the same."""
    watcher = Watcher(told={"message 1", "maildrop 2", "upload 3", "account work"}, patience_s=0.0)

    watcher.see(0, Standing({"message 9": LASTING}, is_whole=False))

    assert watcher.told == {"message 1", "maildrop 2", "upload 3", "message 9"}


def test_trouble_says_since_when() -> None:
    """Where nobody knows it better, since it was first seen."""
    patience = Patience(PATIENCE_S, PATIENCE_S)
    standing = Standing({"a": WAITING, "b": replace(WAITING, since_at=AT - 500)})
    patience.judge(standing, (), now=0, at=AT)

    due, _ = patience.judge(standing, (), now=PATIENCE_S, at=AT + PATIENCE_S)

    assert {key: one.since_at for key, one in due.items()} == {"a": AT, "b": AT - 500}


REFUSED = LoginRefusedError("login refused by the server")


@pytest.mark.parametrize(
    ("error", "auth", "other"),
    [
        (REFUSED, ["password of work"], []),
        (SecretError("password_command ended with status 1"), ["password of work"], []),
        (RefusedError("login refused by the server", code="UNAVAILABLE"), [], ["account work"]),
        (UnreachableError("no connection"), [], ["account work"]),
        (TrustError("not trusted"), [], ["account work lasting"]),
        (ValueError("x"), [], ["account work"]),
    ],
)
def test_trouble_of_an_account_is_told_to_one_hook(error: Exception, auth: list[str], other: list[str]) -> None:
    """Where a person has to see to a password, to that of passwords; else to the other."""
    activities = Activities(accounts={"work": failed(error)})

    assert list(auth_errors(CONFIG, activities).troubles) == auth
    assert list(other_errors(CONFIG, activities, StoredErrors()).troubles) == other


@pytest.mark.parametrize(
    "error",
    [
        REFUSED,
        SecretError("the file of client_cert cannot be used: no such file"),
        UnreachableError("x"),
        FileError("x"),
        ValueError("x"),
        SyncdError("x"),
    ],
)
def test_remedy_is_that_of_status(error: Exception) -> None:
    """Who is told and who looks is to do the same; where nobody knows what, it is said whether waiting helps."""
    account = failed(error)
    told = (
        auth_errors(CONFIG, Activities({"work": account})).troubles
        | other_errors(CONFIG, Activities({"work": account}), StoredErrors()).troubles
    )

    (trouble,) = told.values()

    remedy = account_remedy(cause_of(error), "work", CONFIG.accounts["work"], error=str(error))
    assert trouble.what_to_do == (remedy or "nothing: it is tried again by itself")


def test_remedy_of_a_device_is_that_of_its_state() -> None:
    """One that is another's is to be adopted, not to be mounted."""
    activities = Activities(devices={"laptop": failed(DeviceAwayError("another's", temper=Temper.GIVE_UP))})
    states = {state: StoredErrors(states={"laptop": state}) for state in (AWAY, FOREIGN)}

    found = {
        state: trouble.what_to_do
        for state, stored in states.items()
        for trouble in other_errors(CONFIG, activities, stored).troubles.values()
    }

    assert "mount /m/laptop" in found[AWAY]
    assert "syncd adopt laptop" in found[FOREIGN]


def test_password_that_waiting_may_bring_is_waited_for_and_a_refused_one_is_not() -> None:
    """A command that was too slow once is not worth a word; since when is known to who fails."""
    slow, refused = failed(SecretError("password_command did not end within 30 s")), failed(REFUSED)
    slow.failing_since = AT - 5

    found = [auth_errors(CONFIG, Activities({"work": one})).troubles["password of work"] for one in (slow, refused)]

    assert [one.waiting_helps for one in found] == [True, False]
    assert found[0].since_at == AT - 5


def test_password_is_wrong_until_a_server_has_taken_one() -> None:
    """Neither a start nor a server that cannot be reached says that it is right; a login does, and leaving the file."""
    starting, unreachable, well = Activity(), failed(REFUSED), failed(REFUSED)
    unreachable.failed(UnreachableError("no connection"), "no connection", retry_at=AT)
    well.logged_in()

    states = [
        auth_errors(CONFIG, Activities(accounts={"work": one})).is_over("password of work")
        for one in (failed(REFUSED), starting, unreachable, well)
    ]
    assert states == [False, False, False, True]
    assert auth_errors(CONFIG, Activities()).is_over("password of gone")


def test_account_fails_until_it_has_nothing_left_to_do() -> None:
    """To be let in and to fail again some minutes later is one trouble, however often."""
    one, stored = failed(UnreachableError("no connection")), StoredErrors()
    activities = Activities({"work": one})
    one.logged_in()

    assert not other_errors(CONFIG, activities, stored).is_over("account work")
    one.now(IDLE, AT)
    assert other_errors(CONFIG, activities, stored).is_over("account work")


def test_device_fails_until_it_was_served() -> None:
    """After a start, what the store remembers of it counts until it is known better."""
    activities = Activities(devices={"laptop": Activity()})
    key = "device laptop"

    assert not other_errors(CONFIG, activities, StoredErrors(devices=frozenset({"laptop"}))).is_over(key)
    assert other_errors(CONFIG, activities, StoredErrors()).is_over(key)
    failing = Activities(devices={"laptop": failed(FileError("no space"))})
    assert list(other_errors(CONFIG, failing, StoredErrors()).troubles) == [key]


def test_what_the_configuration_does_not_name_is_told_of_to_nobody() -> None:
    """What is paused is no trouble."""
    stored = {"a": replace(WAITING, account="gone"), "b": replace(WAITING, device="gone"), "c": WAITING}

    assert list(other_errors(CONFIG, Activities(), StoredErrors(stored)).troubles) == ["c"]
    assert held_messages(CONFIG, [held(1, account="gone"), held(2, device="gone")]).troubles == {}


def test_hold_that_grows_is_the_same_and_one_of_another_kind_is_another() -> None:
    """Its number changes, so that nobody releases what he has not seen; he is told of it once."""
    first, grown = (held_messages(CONFIG, [held(number)]).troubles for number in (3, 4))
    other = held_messages(CONFIG, [held(5, reason=Reason.SERVER_WENT_BACK)]).troubles
    released = held_messages(CONFIG, [held(3, state=HoldState.RELEASED)])

    assert first.keys() == grown.keys() != other.keys()
    whole = held(6)
    mailbox = replace(whole, hold=replace(whole.hold, reason=Reason.MAILBOXES_EMPTIED, effects=()))
    assert len(held_messages(CONFIG, [held(3), mailbox]).troubles) == 2
    assert released.troubles == {}
    assert all(map(released.is_over, first))
    (trouble,) = first.values()
    assert (trouble.hold, trouble.messages, trouble.since_at) == (3, 2, AT)
    assert "syncd holds release 3" in trouble.what_to_do


def failed(error: Exception) -> Activity:
    """Return the activity of a task that has failed."""
    one = Activity()
    one.failed(error, str(error) if isinstance(error, SyncdError) else "unexpected", retry_at=AT)
    return one


def held(
    number: int,
    *,
    account: str = "work",
    device: str | None = "laptop",
    reason: Reason = Reason.TOO_MANY,
    state: HoldState = HoldState.HELD,
) -> HoldReport:
    """Return a hold of two messages on a device."""
    effects = (Remove(1, 1), Remove(2, 2))
    return HoldReport(Hold(number, HoldScope.ON_DEVICE, 7, 9, reason, state, effects, AT), account, "INBOX", device)
