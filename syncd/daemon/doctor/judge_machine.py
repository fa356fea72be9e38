"""Floor 5: judge the software, the clock, and what is around the process: a unit of systemd, a container."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote

from syncd.daemon.doctor.facts import Clock, Container, Place, Software, Unit, User
from syncd.daemon.doctor.findings import Finding, error, note, ok, warning

_SQLITE_FIRST = (3, 35)
"""UPDATE ... RETURNING."""
_SQLITE_MENDED = (3, 51, 3)
_CLOCK_SLACK_S = 60.0
_AHEAD_S = 86400.0
_LAYERS = frozenset({"overlay", "aufs", "overlayfs"})
"""What the own layers of a container are on."""
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
"""What ProtectHome keeps away."""
_READ_ONLY = "read-only"
"""Of ProtectHome: what ReadWritePaths names may be written all the same, which of the others' homes is not there."""


def judge_software(software: Software, *, needs_postgres: bool) -> Iterator[Finding]:
    """Judge versions: of syncd, of what it is run by, and of its libraries."""
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(software.libraries.items()))
    yield ok("version", f"syncd {software.syncd}", f"on {software.system}, {software.python}, {software.openssl}")
    yield ok("libraries", f"syncd {software.syncd}", libraries)
    for name in software.missing:
        extra = "pip install 'syncd[postgres]'" if name == "psycopg" else "install syncd anew, with its requirements"
        if name != "psycopg" or needs_postgres:
            yield error("libraries", name, "it is not installed", extra)
    version = ".".join(map(str, software.sqlite))
    where = f"SQLite {version}"
    if software.sqlite < _SQLITE_FIRST or software.sqlite_lacks:
        lacking = f"it was compiled without {' and '.join(software.sqlite_lacks)}" if software.sqlite_lacks else ""
        first = ".".join(map(str, _SQLITE_FIRST))
        yield error("sqlite", where, lacking or "it is too old", f"a Python with a complete SQLite, {first} or newer")
    elif software.sqlite < _SQLITE_MENDED:
        what = "it can be used; before 3.51.3 two programs that write at one instant can damage a file"
        yield ok("sqlite", where, f"{what}, so let none but syncd write to the store")
    else:
        yield ok("sqlite", where, "it can be used")


def judge_clock(clock: Clock) -> Iterator[Finding]:
    """Judge the time of day: ages, certificates and the history go by it."""
    where = _day(clock.now, "%Y-%m-%d %H:%M:%S UTC")
    remedy = "timedatectl set-ntp true, and timedatectl to look at it"
    if clock.newest_at is not None and clock.newest_at > clock.now + _CLOCK_SLACK_S:
        ahead = clock.newest_at - clock.now
        what = f"the store knows of {_day(clock.newest_at, '%Y-%m-%d %H:%M:%S UTC')}, so the clock was set back"
        yield (error if ahead > _AHEAD_S else warning)("clock", where, what, remedy)
    elif clock.is_synchronized is False:
        yield note("clock", where, "nobody keeps the clock right (NTP), as far as the kernel knows", remedy)
    else:
        how = "it is kept right (NTP)" if clock.is_synchronized else "not before the newest that the store knows of"
        yield ok("clock", where, how)


def judge_unit(unit: Unit, places: Iterable[tuple[str, Place]], user: User) -> Iterator[Finding]:
    """Judge whether a hardened unit lets the daemon write where it has to. places: by their keys."""
    edit = f"systemctl {'--user ' if unit.is_user_unit else ''}edit {unit.name}"
    is_fine = True
    for key, place in places:
        path, shuts, opens = place.path, None, ""
        is_home, is_open = (any(path.is_relative_to(one) for one in those) for those in (_HOMES, unit.writable))
        if is_home and unit.protect_home not in {"no", _READ_ONLY}:
            shuts, opens = f"ProtectHome={unit.protect_home}", ", ProtectHome=no"
        elif is_home and unit.protect_home == _READ_ONLY and not is_open:
            shuts = f"ProtectHome={_READ_ONLY}"
        elif unit.protect_system == "strict" and not is_open:
            shuts = "ProtectSystem=strict"
        if shuts is None:
            continue
        is_fine = False
        made = f"install -d -o {user.name} -m 0700 {quote(str(path))}, and " if not unit.is_user_unit else ""
        lines = f"ReadWritePaths={path}{opens}"
        remedy = f"{made}{edit}: [Service] {lines}"
        yield error(
            "unit_paths", f"{key}: {path}", f"{shuts} of {unit.name} keeps the daemon from writing there", remedy
        )
    is_known = user.has_store and not user.name.isdigit()  # a dynamic user has no name to be known by
    if unit.user and unit.user != user.name and is_known:
        what = f"it runs as {unit.user}, and the store belongs to {user.name}"
        give = f"give the files of the store to {unit.user} (chown)"
        remedy = give if user.uid == 0 else f"{edit}: [Service] User={user.name}; or {give}"
        yield warning("unit_user", unit.name, what, remedy)
    if is_fine:
        yield ok("unit_paths", unit.name, "it may write wherever the configuration says")


def judge_container(container: Container, config: Place | None, kept: Iterable[tuple[str, Place]]) -> Iterator[Finding]:
    """Judge what is mounted into a container. kept: what has to outlive it, by its key."""
    yield note("container", container.kind, "this is a container: what is not mounted into it goes with it")
    if config is not None and str(config.path) in container.mounts:
        what = "the file itself is mounted: an editor that puts another file in its place is not noticed"
        yield warning(
            "container_config", str(config.path), what, f"mount its directory: -v DIR:{config.path.parent}:ro"
        )
    for key, place in kept:
        system = place.file_system
        if system is not None and system.kind in _LAYERS and system.mount_point == "/":
            what = "it is in the container's own layer, and is gone when the container is made anew"
            yield warning("container_volume", f"{key}: {place.path}", what, f"mount a volume: -v NAME:{place.path}")


def _day(at: float, form: str) -> str:
    return datetime.fromtimestamp(at, UTC).strftime(form)
