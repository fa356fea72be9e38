"""Floor 6: `syncd plan`: what a sync would do now, effect by effect, without doing it."""

from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.client import Client, decoded
from syncd.cli.configured import configuration
from syncd.cli.options import ConfigOption
from syncd.cli.stored import store_to_read
from syncd.cli.terminal import complain, say, say_json

if TYPE_CHECKING:
    from syncd.config.model import Config
    from syncd.daemon.people.answers import PlanLine, PlanReport

_FIRST = {
    "list": "its messages are to be listed",
    "fetch": "messages to be fetched: {:,}",
    "first_look": "its directory is to be looked at",
    "take_in": "new files to be read: {:,}",
    "second_look": "missing files to be looked for again: {:,}",
    "retry": "to be tried again, see syncd status: {:,}",
}

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


def plan(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show what is left to do as far as syncd knows; nothing is looked at anew, and nothing is done."""
    settings = configuration(config).config

    from syncd.daemon.people.answers_json import PLAN_JSON

    answer = Client(settings.daemon.socket).get_if_running("/plan")
    report = _from_store(settings) if answer is None else decoded(PLAN_JSON, answer)
    if as_json:
        say_json(PLAN_JSON, report)
        return
    for line in report.effects:
        say(f"{line.device}: {line.account}/{line.mailbox}: {_text(line)}")
    for one in report.holds:
        say(f"{one.state}: {one.account}/{one.mailbox}: {one.what}; syncd holds show {one.id} lists them")
    for wait in report.waits:
        first = _FIRST[wait.what].format(wait.messages)
        say(f"first: {wait.device or 'server'}: {wait.account}/{wait.mailbox}: {first}")
    for name in report.unseen:
        say(
            f"{name}: nothing is known yet, for its mailboxes were never listed: "
            f"syncd status says why, syncd sync {name} tries it now"
        )
    if not report.effects and not (report.unseen and not report.waits):
        say("nothing to do" if not report.waits else "nothing to do before that")
    if not report.is_whole:
        complain(f"only the first {len(report.effects)} effects are shown")


def _text(line: "PlanLine") -> str:
    from syncd.reconcile.guard import Reason, as_words

    uid = "" if line.uid is None or "uid" in line.effect else f" (uid {line.uid})"
    return f"{line.text}{uid}" + ("" if line.held is None else f"; would be held: {as_words(Reason(line.held))}")


def _from_store(config: "Config") -> "PlanReport":
    import asyncio
    import time

    from syncd.daemon.people.reading import read_plan

    with store_to_read(config) as db:
        return asyncio.run(read_plan(db, config, now=time.time()))
