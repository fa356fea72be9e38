"""Floor 5: look at the store, beside whoever owns it, and hold what a daemon says of itself against the facts."""

from pathlib import Path

from syncd.config.model import Config
from syncd.daemon.doctor.facts import DaemonFacts, Failing, Place, StoreFacts
from syncd.daemon.status.status import Status
from syncd.errors import SyncdError
from syncd.store.engine.migrate import Standing, state
from syncd.store.engine.owner import owner_pid
from syncd.store.people.checkup import Checkup, check_up


def look_at_store(config: Config, *, timeout_s: float) -> tuple[StoreFacts, Checkup | None]:
    """Return how the store is, and what it says, where this syncd can read it; nothing is made or changed."""
    path = config.store.sqlite_path
    where = str(path) if path is not None else "PostgreSQL"
    url = config.store.url.get_secret_value()
    try:
        found = state(url)
        seen = check_up(url, timeout_s=timeout_s) if found.standing is Standing.CURRENT else None
    except SyncdError as error:
        return StoreFacts(where, error=str(error)), None
    facts = StoreFacts(
        where,
        found.standing.value,
        found.stored,
        found.head,
        size_bytes=_size_of(path),
        wal_bytes=_size_of(path.with_name(f"{path.name}-wal") if path is not None else None),
        damages=seen.damages if seen is not None else (),
        is_whole=seen.is_whole if seen is not None else True,
    )
    return facts, seen


def daemon_facts(
    status: Status | None, *, error: str, socket: Place, directory: Place, store: Path | None
) -> DaemonFacts:
    """Return how the daemon is by its status; None: nobody answers, or error says why not."""
    if status is None or status.daemon is None:
        return DaemonFacts(socket, directory, error=error, store_owner_pid=None if error else owner_pid(store))
    config = status.config
    failing = (
        *(Failing("account", one.name, one.error, one.remedy or "") for one in status.accounts if one.error),
        *(Failing("device", one.name, one.error, one.remedy or "") for one in status.devices if one.error),
    )
    return DaemonFacts(
        socket,
        directory,
        is_running=True,
        pid=status.daemon.pid,
        version=status.daemon.version,
        config=config.path if config is not None else "",
        loaded_at=config.loaded_at if config is not None else 0.0,
        problems=config.problems if config is not None else (),
        at_restart=config.at_restart if config is not None else (),
        failing=failing,
        held=sum(one.state == "held" for one in status.holds),
    )


def _size_of(path: Path | None) -> int:
    try:
        return path.stat().st_size if path is not None else 0
    except OSError:
        return 0
