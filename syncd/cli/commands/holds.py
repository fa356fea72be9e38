"""Floor 6: `syncd holds`: removals and deletions that wait for a person, shown, released and discarded."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.client import Client, decoded
from syncd.cli.configured import configuration
from syncd.cli.options import ConfigOption
from syncd.cli.plain import Plain, number
from syncd.cli.stored import store_to_change, store_to_read
from syncd.cli.terminal import complain, say, say_json

if TYPE_CHECKING:
    from syncd.config.model import Config
    from syncd.daemon.people.answers import Decision, HoldDetail, HoldsReport
    from syncd.daemon.status.status import HoldStatus

holds = typer.Typer(
    help="Show removals and deletions that wait for you, and let them happen or put them back.",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
)

_IDS = "The number of a hold, as syncd holds shows it."

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]
IdsOption = Annotated[list[int] | None, typer.Argument(metavar="ID", help=_IDS, parser=number(1))]
AllOption = Annotated[bool, typer.Option("--all", help="All that are held now.")]


@holds.callback()
def list_holds(context: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show removals and deletions that wait for you, and let them happen or put them back."""
    if context.invoked_subcommand is not None:
        if config is not None or as_json:
            raise typer.BadParameter(f"options belong behind {context.invoked_subcommand}")
        return
    settings = configuration(config).config

    from syncd.daemon.people.answers_json import HOLDS_JSON

    answer = Client(settings.daemon.socket).get_if_running("/holds")
    report = _list_from_store(settings) if answer is None else decoded(HOLDS_JSON, answer)
    if as_json:
        say_json(HOLDS_JSON, report)
        return
    now = time.time()
    for one in report.holds:
        say(_line(one, now))
    if not report.holds:
        say("nothing is held")
        return
    if not report.is_whole:
        complain(f"only the first {len(report.holds)} holds are shown")
    say("nothing of it happens until you decide: syncd holds show ID says what would,")
    say("syncd holds release ID does it, syncd holds discard ID puts back what is gone")


@holds.command(cls=Plain, short_help="Show what would happen, one line for each message.")
def show(
    hold_id: Annotated[int, typer.Argument(metavar="ID", help=_IDS, parser=number(1))],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what would happen, one line for each message."""
    settings = configuration(config).config

    from syncd.daemon.people.answers_json import HOLD_JSON

    answer = Client(settings.daemon.socket).get_if_running(f"/holds/{hold_id}")
    detail = _show_from_store(settings, hold_id) if answer is None else decoded(HOLD_JSON, answer)
    if as_json:
        say_json(HOLD_JSON, detail)
        return
    say(_line(detail.hold, time.time()))
    for effect in detail.effects:
        whose = "" if detail.hold.device is None else f"{detail.hold.device}: "
        say(f"{whose}{_place(detail.hold)}: {effect}")
    if not detail.is_whole:
        complain(f"only the first {len(detail.effects)} effects of {detail.hold.count} are shown")


@holds.command(cls=Plain, short_help="Let what these holds hold happen.")
def release(hold_ids: IdsOption = None, config: ConfigOption = None, release_all: AllOption = False) -> None:
    """Let exactly what these holds hold happen; the daemon does it at once."""
    _decide("release", "released", hold_ids, config, is_all=release_all)


@holds.command(cls=Plain, short_help="Put back what these holds hold.")
def discard(hold_ids: IdsOption = None, config: ConfigOption = None, discard_all: AllOption = False) -> None:
    """Put back what these holds hold: on the device that lost it, or on the server; the daemon does it at once."""
    _decide("discard", "discarded", hold_ids, config, is_all=discard_all)


def _decide(verb: str, done: str, hold_ids: list[int] | None, config: ConfigOption, *, is_all: bool) -> None:
    if bool(hold_ids) == is_all:
        raise typer.BadParameter(f"name the holds to {verb}, or --all")
    settings = configuration(config).config

    from syncd.daemon.people.answers import Decision
    from syncd.daemon.people.answers_json import DECISION_JSON, HOLDS_JSON

    wanted = Decision(tuple(hold_ids or ()), is_all=is_all)
    client = Client(settings.daemon.socket)
    is_running = client.is_running()
    if is_running:
        report = decoded(HOLDS_JSON, client.post(f"/holds/{verb}", DECISION_JSON.dump_json(wanted)))
    else:
        report = _decide_in_store(settings, wanted, verb)
    for one in report.holds:
        say(f"{done} hold {one.id}: {one.what} in {_place(one)}")
    if not report.holds:
        say("nothing is held")
    elif not is_running:
        say("the daemon is not running: it happens with the next syncd sync or syncd run")


def _line(one: "HoldStatus", now: float) -> str:
    from syncd.cli.screen.words import age

    since = age(now - one.held_at)
    state = "released, happens with the next round" if one.state == "released" else f"held for {since}"
    return f"hold {one.id}: {_place(one)}: {one.what}, {state}: {one.why}"


def _place(one: "HoldStatus") -> str:
    return f"{one.account}/{one.mailbox}"


def _list_from_store(config: "Config") -> "HoldsReport":
    from syncd.daemon.people.holding import read_holds

    with store_to_read(config) as db:
        return db.read_now(lambda conn: read_holds(conn, config))


def _show_from_store(config: "Config", hold_id: int) -> "HoldDetail":
    from syncd.daemon.people.holding import read_hold

    with store_to_read(config) as db:
        return db.read_now(lambda conn: read_hold(conn, config, hold_id=hold_id))


def _decide_in_store(config: "Config", wanted: "Decision", verb: str) -> "HoldsReport":
    from syncd.daemon.people import holding

    with store_to_change(config) as db:
        if verb == "discard":
            return db.write_now(lambda conn: holding.discard(conn, config, wanted=wanted, now=time.time()))
        return db.write_now(lambda conn: holding.release(conn, config, wanted=wanted, now=time.time()))
