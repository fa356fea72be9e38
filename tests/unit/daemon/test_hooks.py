"""Hooks over a store: told at least once what is committed, together, and never so that anybody waits for them."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from syncd.config.changes import changes_between
from syncd.config.model import Config
from syncd.daemon.hooks.hooks import Gathering, Hooks
from syncd.daemon.serving.app import open_app
from syncd.daemon.status.config_status import ConfigStatus
from syncd.errors import LoginRefusedError
from syncd.mail.flags import NONE
from syncd.reconcile.effects import Deliver
from syncd.store.engine.database import Database
from syncd.store.people import hooks
from syncd.store.people.tallies import last_deed
from syncd.store.tables import own_tables
from syncd.store.trees import history
from syncd.store.trees.history import SERVER
from syncd.sync.activity import Activities, Activity
from tests.unit.config.builders import LAPTOP, reading
from tests.unit.store_trees.grove import NOW, Grove

DEADLINE_S = 20.0
QUICK_S = 0.02
APPENDS = 'cat >> "$0"'
"""Keeps what it is told, one line for each run."""


@dataclass
class House:
    """What hooks see of an app, with a grove in its store; `told` is what their commands have kept."""

    directory: Path
    db: Database
    config: Config
    activities: Activities = field(default_factory=Activities)
    config_state: ConfigStatus = field(default_factory=partial(ConfigStatus, 0.0, "/etc/syncd/syncd.toml"))
    clock: Callable[[], float] = lambda: NOW

    def __post_init__(self) -> None:
        self.grove = Grove(self.db, "work")
        self.grove(partial(hooks.begin, names=self.config.hooks.commands))

    def hooks(self, **more: Any) -> Hooks:
        made = Hooks(self, **{"step_s": QUICK_S, "retries_s": (QUICK_S, QUICK_S)} | more)
        made.adjust(self.config.hooks)
        return made

    def deliver(self, *uids: int) -> None:
        """Deliver messages to the laptop."""
        ids = self.grove.plant(*uids)
        self.grove.deliver(self.grove.laptop, *ids)
        told = [history.of(Deliver(id_, NONE)) for id_ in ids]
        where = {"mailbox_id": self.grove.inbox, "device_id": self.grove.laptop.device_id}
        self.grove(partial(history.tell, happenings=told, now=NOW, origin=SERVER, **where))

    def is_recorded(self) -> bool:
        """Tell whether the store has it that all new mail was told."""
        return self.grove(partial(hooks.told_upto, name="on_new_mail")) == self.grove(last_deed)

    def told(self) -> list[dict[str, Any]]:
        file = self.directory / "told"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def house(tmp_path: Path) -> Callable[..., Any]:
    """Return what opens a house whose hooks are these scripts; each has the path of what it keeps as $0."""

    @asynccontextmanager
    async def opened(**scripts: str) -> AsyncIterator[House]:
        commands = {name: ["sh", "-c", script, str(tmp_path / "told")] for name, script in scripts.items()}
        config = Config.model_validate(
            {
                "store": {"url": f"sqlite:///{tmp_path}/s/syncd.db"},
                "daemon": {"socket": tmp_path / "sock"},
                "accounts": {"work": {"type": "imap", "host": "h", "username": "u", "password": "p"}},
                "devices": {"work-laptop": {"path": tmp_path / "laptop"}},
                "hooks": {"timeout": "15s", **commands},
            }
        )
        async with asyncio.timeout(DEADLINE_S):
            with Database.open(config.store.url.get_secret_value()) as db:
                yield House(tmp_path, db, config)

    return opened


@asynccontextmanager
async def serving(found: Hooks, *names: str) -> AsyncIterator[None]:
    """Serve hooks until left, as at a stop."""
    tasks = [asyncio.create_task(found.serve(name)) for name in names]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing signals what a test looks at
        await asyncio.sleep(0.01)


def test_news_is_told_when_it_rests_and_at_last_while_it_does_not() -> None:
    """A first sync is a handful of runs, and a single message waits for a moment only."""
    gathering = Gathering(step_s=1.0, at_most_s=10.0)

    assert [gathering.is_over(1, now=now) for now in (0.0, 0.9, 1.0)] == [False, False, True]
    assert gathering.is_over(None, now=2.0) is False
    assert [gathering.is_over(number, now=3.0 + 0.5 * number) for number in range(21)] == [False] * 20 + [True]


async def test_all_that_came_is_told_together_and_once(house: Callable[..., Any]) -> None:
    """With where it is, in one document; what is told is not told again, also not after a restart."""
    async with house(on_new_mail=APPENDS) as one:
        one.deliver(1, 2)
        async with serving(one.hooks(), "on_new_mail"):
            await until(one.is_recorded)
        one.deliver(3)
        async with serving(one.hooks(), "on_new_mail"):
            await until(one.is_recorded)

        first, second = one.told()
        assert shape_of(first) == shape_of(examples()["on_new_mail"])
        assert (first["hook"], first["attempt"], first["count"], first["is_whole"]) == ("on_new_mail", 1, 2, True)
        directory = f"/work-laptop/{one.grove.laptop.directory}"
        where = {"device": "work-laptop", "account": "work", "mailbox": "INBOX"}
        assert first["mailboxes"] == [{**where, "directory": directory, "count": 2}]
        file = one.grove.file(one.grove.laptop, one.grove.message(1).id)
        assert first["messages"][0] == {
            **where,
            "message": one.grove.message(1).id,
            "uid": 1,
            "path": f"{directory}/{file.subdir}/{file.name}:2,{file.info}",
            "flags": [],
            "size_bytes": 20,
            "delivered_at": NOW,
        }
        assert [message["uid"] for message in second["messages"]] == [3]


async def test_news_whose_hook_was_ended_is_told_again(house: Callable[..., Any]) -> None:
    """Stopped or killed while the command runs, it is not done; what came meanwhile is told with it."""
    async with house(on_new_mail=f"{APPENDS}; exec sleep 600") as one:
        one.deliver(1)
        async with serving(one.hooks(), "on_new_mail"):
            await until(one.told)
        one.deliver(2)
        async with serving(one.hooks(), "on_new_mail"):
            await until(lambda: len(one.told()) > 1)

        assert [[message["uid"] for message in run["messages"]] for run in one.told()] == [[1], [1, 2]]


async def test_hook_that_fails_is_tried_again_and_given_up_and_told_what_comes_then(house: Callable[..., Any]) -> None:
    """A command that is wrong costs its tries each time that there is something new, and nothing else."""
    async with house(on_new_mail=f"{APPENDS}; echo no such index >&2; exit 4") as one:
        found = one.hooks()
        one.deliver(1)
        async with serving(found, "on_new_mail"):
            state = found.states["on_new_mail"]
            await until(lambda: state.given_up)
            assert (state.runs, state.failures, state.given_up) == (3, 3, 1)
            assert (state.error, state.retry_at) == ("it ended with status 4", None)
            await until(one.is_recorded)
            one.deliver(2)
            await until(lambda: state.given_up == 2)

        runs = [(run["attempt"], [message["uid"] for message in run["messages"]]) for run in one.told()]
        assert runs == [(1, [1]), (2, [1]), (3, [1]), (1, [2]), (2, [2]), (3, [2])]


async def test_what_came_between_the_tries_is_told_as_often_as_anything(house: Callable[..., Any]) -> None:
    """What came just before the last try is not given up with what was told in vain from the first."""
    waits = 'while [ "$(wc -l < "$0")" -eq 2 ] && ! [ -e "$0.go" ]; do sleep 0.02; done'
    async with house(on_new_mail=f"{APPENDS}; {waits}; exit 4") as one:
        found = one.hooks()
        one.deliver(1)
        async with serving(found, "on_new_mail"):
            state = found.states["on_new_mail"]
            await until(lambda: len(one.told()) == 2)
            one.deliver(2)
            (one.directory / "told.go").touch()
            await until(lambda: state.runs == 4)

        runs = [(run["attempt"], [message["uid"] for message in run["messages"]]) for run in one.told()]
        assert runs == [(1, [1]), (2, [1]), (3, [1, 2]), (1, [2])]
        assert state.given_up == 1


async def test_hook_whose_trouble_is_over_before_it_was_told_does_not_fail_any_more(house: Callable[..., Any]) -> None:
    """Nothing is left that a person could see to; until then it waits for its next try, also while that goes on."""
    script = 'if [ -e "$0" ]; then while ! [ -e "$0.go" ]; do sleep 0.02; done; fi; touch "$0"; exit 4'
    async with house(on_auth_error=script) as one:
        account = one.activities.accounts["work"] = Activity()
        account.failed(LoginRefusedError("refused"), "refused", retry_at=NOW)
        found = one.hooks(retries_s=(QUICK_S, QUICK_S, QUICK_S))
        async with serving(found, "on_auth_error"):
            state = found.states["on_auth_error"]
            await until(lambda: state.runs == 1 and state.is_running)
            assert (state.error, state.retry_at) == ("it ended with status 4", NOW + QUICK_S)
            account.logged_in()
            (one.directory / "told.go").touch()
            await until(lambda: state.error is None)
            assert (state.runs, state.failures, state.given_up, state.retry_at) == (2, 2, 0, None)


async def test_hooks_that_hang_do_not_hold_up_another(house: Callable[..., Any]) -> None:
    """However many there are, each has a run of its own."""
    hangs = 'printf b >> "$0"; while ! [ -e "$0.go" ]; do sleep 0.02; done'
    async with house(on_new_mail=hangs, on_auth_error=hangs, on_error="true") as one:
        refused = Activity()
        refused.failed(LoginRefusedError("no"), "no", retry_at=NOW)
        one.activities.accounts["work"] = refused
        one.deliver(1)
        found, begun = one.hooks(), one.directory / "told"
        async with serving(found, *found.states):
            await until(lambda: begun.exists() and begun.read_text() == "bb")
            lost = Activity()
            lost.is_lasting, lost.error = True, "lost"
            one.activities.devices["work-laptop"] = lost
            await until(lambda: found.states["on_error"].runs == 1)
            assert found.states["on_new_mail"].is_running
            assert found.states["on_auth_error"].is_running
            (one.directory / "told.go").touch()
            await until(lambda: sum(state.runs for state in found.states.values()) == 3)


async def test_trouble_is_told_once_over_a_restart_and_again_when_it_comes_again(house: Callable[..., Any]) -> None:
    """Who fixed it and is wrong again wants to know."""
    async with house(on_auth_error=APPENDS) as one:
        account = one.activities.accounts["work"] = Activity()
        account.failed(LoginRefusedError("refused"), "refused; waiting does not help", retry_at=NOW + 900)
        async with serving(one.hooks(), "on_auth_error"):
            await until(lambda: one.grove(partial(hooks.told_troubles, name="on_auth_error")))
        async with serving(one.hooks(), "on_auth_error"):
            account.logged_in()
            await until(lambda: not one.grove(partial(hooks.told_troubles, name="on_auth_error")))
            account.failed(LoginRefusedError("refused"), "refused again", retry_at=NOW)
            await until(lambda: len(one.told()) > 1)

        first, second = one.told()
        assert shape_of(first) == shape_of(examples()["on_hold"])
        (trouble,) = first["troubles"]
        assert (trouble["account"], trouble["reach"], trouble["waiting_helps"]) == ("work", "account", False)
        assert trouble["error"] == "refused; waiting does not help"
        assert second["troubles"][0]["error"] == "refused again"


async def test_hook_that_an_edit_adds_begins_then_and_one_that_it_takes_out_is_forgotten(tmp_path: Path) -> None:
    """Without a hook there is nothing of it in the store, and nothing is loaded; edits count at once."""
    hooked = f'{LAPTOP}[hooks]\non_hold = ["true"]\n'
    rows = select(own_tables.hook.c.name)
    async with asyncio.timeout(DEADLINE_S), open_app(reading(tmp_path, LAPTOP).config) as app:
        app.start()
        assert app.hooks is None
        assert app.db.read_now(lambda conn: conn.execute(rows).all()) == []

        async def edit(text: str) -> None:
            await app.apply(changes_between(app.config, reading(tmp_path, text).config))

        await edit(hooked)
        assert app.hooks is not None
        assert app.hooks.states["on_hold"].command == ("true",)
        assert app.db.read_now(lambda conn: conn.execute(rows).scalars().all()) == ["on_hold"]
        await edit(hooked.replace("true", "false"))
        assert app.hooks.states["on_hold"].command == ("false",)
        assert is_served("on_hold")
        await edit(LAPTOP)
        assert app.hooks.states == {}
        assert not is_served("on_hold")
        assert app.db.read_now(lambda conn: conn.execute(rows).all()) == []


def examples() -> dict[str, dict[str, Any]]:
    """Return what the page shows that hooks are told."""
    page = (Path(__file__).parents[3] / "docs" / "hooks.md").read_text()
    shown = [json.loads(text) for text in re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)]
    return {one["hook"]: one for one in shown}


def shape_of(value: Any) -> Any:
    """Return the keys of a document, in their order."""
    match value:
        case dict():
            return [(key, shape_of(one)) for key, one in value.items()]
        case list():
            return shape_of(value[0]) if value else None
    return None


def is_served(hook: str) -> bool:
    return any(task.get_name() == f"hook {hook}" for task in asyncio.all_tasks())
