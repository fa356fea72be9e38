"""What a listener is told of how everybody is, and of a history that is longer than a page."""

from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection

from syncd.config.model import Config
from syncd.daemon.control.happening import Condition, Kind, Tail, changes
from syncd.daemon.people.answers import Event
from syncd.daemon.serving.app import open_app
from syncd.store.trees import history

AT = 1_700_000_000.0
WELL = Condition({"work": None}, {"laptop": None}, {"laptop": "active"}, config_loaded_at=AT)


def condition(**changed: object) -> Condition:
    """Return one in which all is well but for this."""
    values = {"accounts": WELL.accounts, "devices": WELL.devices, "states": WELL.states, "config_loaded_at": AT}
    return Condition(**(values | changed))  # type: ignore[arg-type]  # a test's shorthand


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (Condition(config_loaded_at=AT), WELL, []),
        (WELL, WELL, []),
        (WELL, condition(accounts={"work": "lost"}), [Event(AT, Kind.ACCOUNT_FAILED, account="work", error="lost")]),
        (condition(accounts={"work": "lost"}), condition(accounts={"work": "lost"}), []),
        (
            condition(accounts={"work": "lost"}),
            condition(accounts={"work": "refused"}),
            [Event(AT, Kind.ACCOUNT_FAILED, account="work", error="refused")],
        ),
        (condition(accounts={"work": "lost"}), WELL, [Event(AT, Kind.ACCOUNT_RECOVERED, account="work")]),
        (WELL, condition(accounts={}), [Event(AT, Kind.ACCOUNT_REMOVED, account="work")]),
        (WELL, condition(devices={"laptop": "full"}), [Event(AT, Kind.DEVICE_FAILED, device="laptop", error="full")]),
        (condition(devices={"laptop": "full"}), WELL, [Event(AT, Kind.DEVICE_RECOVERED, device="laptop")]),
        (WELL, condition(states={"laptop": "away"}), [Event(AT, Kind.DEVICE_CHANGED, device="laptop", state="away")]),
        (WELL, condition(config_loaded_at=AT + 1), [Event(AT, Kind.CONFIG_APPLIED)]),
        (WELL, condition(config_problems=("1: a", "2: b")), [Event(AT, Kind.CONFIG_REFUSED, error="1: a; 2: b")]),
    ],
)
def test_listener_is_told_what_became_of_everybody(before: Condition, now: Condition, told: list[Event]) -> None:
    """Each change once, and of what stays as it is nothing."""
    assert list(changes(before, now, at=AT)) == told


async def test_slow_listener_gets_everything_in_order(tmp_path: Path) -> None:
    """However much happens before he reads again, nothing of it is lost, and nothing is kept for him meanwhile."""
    config = Config.model_validate(
        {"store": {"url": f"sqlite:///{tmp_path}/s/syncd.db"}, "daemon": {"socket": tmp_path / "sock"}}
    )

    def tell(conn: Connection, first: int) -> None:
        told = [history.Happening("store", message_id=number) for number in range(first, first + 700)]
        history.tell(conn, told, now=AT, origin=history.SERVER)

    async with open_app(config) as app:
        await app.db.write(partial(tell, first=0))
        tail = await Tail.of(app)
        at_first = await tail.news()
        await app.db.write(partial(tell, first=1000))
        await app.db.write(partial(tell, first=2000))
        pages = []
        while page := await tail.news():
            pages.append([one.entry.message for one in page if one.entry is not None])

    assert [one.kind for one in at_first] == [Kind.DAEMON_JOINED]
    assert max(map(len, pages)) <= 500
    assert [number for page in pages for number in page] == [*range(1000, 1700), *range(2000, 2700)]
