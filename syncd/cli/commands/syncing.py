"""Floor 6: complete rounds until there is nothing left to do, by the daemon if one runs, else by ourselves."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from syncd.cli.client import Client, decoded
from syncd.cli.configured import UnknownAccountError, configuration, unknown
from syncd.cli.terminal import complain, say

if TYPE_CHECKING:
    from syncd.cli.screen.progress import ProgressView
    from syncd.config.load import Reading
    from syncd.config.model import Config
    from syncd.daemon.people.sync_report import SyncReport


def sync_accounts(accounts: Sequence[str], path: Path | None) -> bool:
    """Sync these accounts, or all if none is named, and tell whether nothing failed, is held, or is left to do.

    path: the configuration; None where it is to be found. UnknownAccountError for a name that it does not have.
    """
    reading = configuration(path)
    settings = reading.config
    if others := set(accounts) - set(settings.accounts):
        raise UnknownAccountError(unknown("account", min(others), settings.accounts))
    names = tuple(dict.fromkeys(accounts or settings.accounts))

    from syncd.cli.screen.progress import progress_view

    with progress_view() as view:
        report = _by_daemon(settings, names, view) or _by_ourselves(reading, names, view)
    if report is None:
        complain("interrupted; the next sync goes on from here")
        return False
    _tell(report, accounts and names)
    return report.is_complete


def _by_daemon(config: "Config", names: tuple[str, ...], view: "ProgressView") -> "SyncReport | None":
    """Return the daemon's report, None if no daemon runs."""
    client = Client(config.daemon.socket)
    if not client.is_running():
        return None

    import threading
    from concurrent.futures import Future, wait

    from syncd.daemon.people.answers import SyncRequest
    from syncd.daemon.people.answers_json import REPORT_JSON, REQUEST_JSON, STATUS_JSON
    from syncd.daemon.status.status import progress_of

    answer: Future[bytes] = Future()

    def ask() -> None:
        try:
            answer.set_result(client.post("/sync", REQUEST_JSON.dump_json(SyncRequest(names))))
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()  # for which no end of ours waits: after Ctrl-C it may take long
    while not wait((answer,), timeout=view.step_s).done:
        view.show(progress_of(decoded(STATUS_JSON, client.get("/status?brief&watch"))))
    return decoded(REPORT_JSON, answer.result())


def _by_ourselves(reading: "Reading", names: tuple[str, ...], view: "ProgressView") -> "SyncReport | None":
    """Return the report, None if a signal interrupted it."""
    from syncd.config.problems import ConfigError, dotted
    from syncd.daemon.alone import sync_once
    from syncd.daemon.process.signals import Interrupted

    needed = {dotted(("accounts", name)) for name in names}
    if lacking := tuple(one for one in reading.without_login if one.key in needed):
        raise ConfigError(lacking)
    try:
        return sync_once(reading.config, names, on_progress=view.show, progress_step_s=view.step_s)
    except Interrupted:
        return None


def _tell(report: "SyncReport", named: Sequence[str]) -> None:
    """Say how it went; named: the accounts that were asked for, none for all."""
    from syncd.config.problems import brief

    for failure in report.failures:
        complain(brief(f"{failure.kind} {failure.name}: {failure.error}"))
    if report.failures and sys.stderr.isatty():
        complain("syncd status says what to do")
    for name in report.unfinished:
        complain(f"{name}: not everything could be synced; see syncd status")
    if report.set_aside:
        complain(f"messages set aside: {report.set_aside}; see syncd status")
    if report.held:
        complain(f"removals and deletions held until you decide: {report.held}; see syncd holds")
    if report.sweep_error is not None:
        complain(f"the store could not be swept: {report.sweep_error}; the next sync tries again")
    if report.is_complete:
        say(f"everything of {', '.join(named)} is synced" if named else "everything is synced")
