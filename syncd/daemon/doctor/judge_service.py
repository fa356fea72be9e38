"""Floor 5: judge the store and the daemon: whether they are whole, of one version and configuration, and at work."""

from collections.abc import Iterator
from shlex import quote

from syncd.config.amounts import size
from syncd.daemon.doctor.facts import DaemonFacts, Failing, Kind, StoreFacts
from syncd.daemon.doctor.findings import Finding, error, note, ok, warning

_WAL_BYTES = 512 * 1024 * 1024


def judge_store(store: StoreFacts, *, auto_migrate: bool) -> Iterator[Finding]:
    """Judge a store as it was read beside its owner."""
    where = store.where
    if store.error:
        remedy = (
            "see what is said of its files, or whether PostgreSQL runs; damaged: put back a backup (docs/recovery.md)"
        )
        yield error("store", where, store.error, remedy)
        return
    yield from _schema(store, auto_migrate=auto_migrate)
    if store.standing == "empty":
        return
    if store.damages:
        what = f"it is damaged: {store.damages[0]}"
        yield error(
            "store", where, what, "stop syncd and put back a backup of it, then syncd adopt DEVICE for each device"
        )
    elif not store.is_whole:
        yield note(
            "store",
            where,
            "it is large, and was not checked to its end",
            f"sqlite3 {quote(where)} 'PRAGMA quick_check'",
        )
    else:
        yield ok("store", where, f"it is whole{_sized(store)}")
    if store.wal_bytes > _WAL_BYTES:
        what = f"its log has {size(store.wal_bytes)}: something reads in it for very long"
        yield warning("store", where, what, f"find and end what has it open: fuser -v {quote(where)}")


def _sized(store: StoreFacts) -> str:
    return f", and has {size(store.size_bytes)}" if store.size_bytes else ""


def _schema(store: StoreFacts, *, auto_migrate: bool) -> Iterator[Finding]:
    where, what = store.where, f"its schema is {store.stored or 'none'}, and this syncd has {store.head}"
    match store.standing:
        case "empty":
            yield note("schema", where, "there is no store yet: the first start makes it")
        case "current":
            yield ok("schema", where, what)
        case "behind" if auto_migrate:
            yield note("schema", where, what, "the next start upgrades it; before that it is copied")
        case "behind":
            yield error("schema", where, what, "syncd migrate, or auto_migrate = true in [store]")
        case "newer":
            yield error("schema", where, what, "the syncd that made it, or a newer one")
        case _:
            yield error("schema", where, "it is a database, but not of syncd", "another [store] url")


def judge_daemon(daemon: DaemonFacts, *, config: str, version: str) -> Iterator[Finding]:
    """Judge the daemon. config: the file that was read; version: of the syncd that asks."""
    where = str(daemon.socket.path)
    if daemon.error:
        yield error("daemon", where, daemon.error, "see its log (journalctl -u syncd), and start it anew")
        return
    if not daemon.is_running:
        yield from _down(daemon, where)
        return
    yield ok("daemon", where, f"it runs (pid {daemon.pid})")
    if daemon.version != version:
        what = f"it is syncd {daemon.version}, and {version} is installed"
        yield warning("daemon_version", where, what, "systemctl restart syncd")
    if not _is_its_own(daemon, config):
        what = f"it follows {daemon.config}, and this is {config}"
        yield warning("daemon_config", where, what, f"syncd doctor --config {quote(daemon.config)}")
    elif daemon.problems:
        what = f"it goes on with the configuration that it had: {daemon.problems[0]}"
        yield error("daemon_config", where, what, "correct the file: syncd check-config")
    elif daemon.at_restart:
        what = f"changed, and counts after a restart: {', '.join(daemon.at_restart)}"
        yield warning("daemon_config", where, what, "systemctl restart syncd")
    else:
        yield ok("daemon_config", where, "it runs what its file says")
    for one in daemon.failing:
        yield error("daemon_failing", f"{one.kind}s.{one.name}", one.error, _remedy(one))
    if daemon.held:
        what = "1 hold waits for a person" if daemon.held == 1 else f"{daemon.held:,} holds wait for a person"
        yield note("daemon_holds", where, what, "syncd holds shows them, and syncd holds release or discard decides")


def daemon_can_use(daemon: DaemonFacts, config: str, *, edited_at: float) -> bool:
    """Tell whether a running daemon found nothing wrong in this file since it was edited."""
    is_known = daemon.is_running and _is_its_own(daemon, config) and edited_at <= daemon.loaded_at
    return is_known and not daemon.problems


def _is_its_own(daemon: DaemonFacts, config: str) -> bool:
    return not daemon.config.startswith("/") or daemon.config == config


def _down(daemon: DaemonFacts, where: str) -> Iterator[Finding]:
    if daemon.store_owner_pid is not None:
        what = f"nobody answers, and another syncd (pid {daemon.store_owner_pid}) has the store"
        yield warning("daemon", where, what, "if that is the daemon, another [daemon] socket is its; see --config")
    elif daemon.socket.kind is Kind.SOCKET:
        yield warning("daemon", where, "it was killed and left its socket", "systemctl start syncd, or syncd run")
    else:
        yield note("daemon", where, "the daemon does not run", "systemctl enable --now syncd, or syncd run")


def _remedy(one: Failing) -> str:
    if one.remedy:
        return one.remedy
    if one.kind == "device":
        return f"mount or repair its directory; syncd adopt {one.name} if what is there now is to be its mail"
    return f"syncd sync {one.name} tries at once"
