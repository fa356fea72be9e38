"""Floor 5: look at the machine: software, limits of the kernel, clock, the unit and the container around the daemon."""

import ctypes
import os
import platform
import resource
import shutil
import sqlite3
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from syncd.daemon.doctor.facts import Clock, Container, Limits, Software, Unit
from syncd.maildir.system.mounts import MOUNTS

_LIBRARIES = (
    "aioimaplib",
    "aiohttp",
    "alembic",
    "cryptography",
    "prometheus-client",
    "pydantic",
    "sqlalchemy",
    "structlog",
)
_OPTIONAL = ("psycopg", "uvloop")
_PROC = Path("/proc")
_INOTIFY = _PROC / "sys/fs/inotify"
_TIME_ERROR = 5
"""What adjtimex(2) says of a clock that nobody keeps right."""
_TIMEX_BYTES = 512
_SYSTEMCTL_S = 3.0
_PROPERTIES = "LoadState,User,ProtectSystem,ProtectHome,ReadWritePaths,StateDirectory,RuntimeDirectory"


def software(syncd: str) -> Software:
    """Return the versions of what syncd is made of. syncd: its own."""
    found = {}
    for name in (*_LIBRARIES, *_OPTIONAL):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return Software(
        syncd,
        f"{platform.python_implementation()} {platform.python_version()}",
        _system(),
        sqlite3.sqlite_version_info,
        _lacks_of_sqlite(),
        ssl.OPENSSL_VERSION,
        libraries=found,
        missing=tuple(name for name in (*_LIBRARIES, "psycopg") if name not in found),
    )


def clock(newest_at: float | None) -> Clock:
    """Return what time it is, and what the kernel says of that. newest_at: what the store has of the past."""
    return Clock(time.time(), _is_synchronized(), newest_at)


def limits(uid: int, daemon_pid: int) -> Limits:
    """Return the limits of a user's programs, and what those but the daemon use."""
    instances, watches = 0, 0
    for process in _processes_of(uid):
        if process.name != str(daemon_pid):
            for count in _inotify_of(process):
                instances += 1
                watches += count
    return Limits(
        _number(_INOTIFY / "max_user_watches"),
        watches,
        _number(_INOTIFY / "max_user_instances"),
        instances,
        _descriptors(daemon_pid),
    )


def container() -> Container | None:
    """Return the container that this is, None where it is none that is known."""
    if Path("/.dockerenv").exists():
        kind = "docker"
    elif Path("/run/.containerenv").exists():
        kind = "podman"
    elif os.environ.get("KUBERNETES_SERVICE_HOST"):
        kind = "kubernetes"
    else:
        return None
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        lines = []
    return Container(kind, frozenset(line.split(" ")[4] for line in lines if len(line.split(" ")) > 4))


def unit(daemon_pid: int, *, is_system_config: bool) -> Unit | None:
    """Return the unit that the daemon runs in, or would with the configuration of the system; None for none."""
    name, is_user_unit = unit_of_cgroup(_text(_PROC / str(daemon_pid) / "cgroup")) if daemon_pid else (None, False)
    if name is None and not daemon_pid and is_system_config:
        name = "syncd.service"
    program = shutil.which("systemctl")
    if name is None or program is None:
        return None
    command = [program, *(["--user"] if is_user_unit else []), "show", f"--property={_PROPERTIES}", "--", name]
    try:
        shown = subprocess.run(  # noqa: S603 - a fixed command; the name is one of systemd's own
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SYSTEMCTL_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return unit_of(name, shown, is_user_unit=is_user_unit)


def unit_of_cgroup(text: str) -> tuple[str | None, bool]:
    """Return the service that a process is in by its /proc/PID/cgroup, and whether that is one of a user's manager."""
    for line in text.splitlines():
        parts = line.rpartition(":")[2].split("/")
        services = [part for part in parts if part.endswith(".service")]
        if services and not services[-1].startswith("user@"):
            return services[-1], any(part.startswith("user@") for part in parts)
    return None, False


def unit_of(name: str, shown: str, *, is_user_unit: bool) -> Unit | None:
    """Return a unit by what `systemctl show` says of it; None where there is none of that name."""
    said = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if said.get("LoadState") != "loaded":
        return None
    writable = [Path(one.lstrip("-+")) for one in said.get("ReadWritePaths", "").split()]
    made: list[Path] = []
    if not is_user_unit:
        for key, base in (("StateDirectory", "/var/lib"), ("RuntimeDirectory", "/run")):
            made += [Path(base) / one for one in said.get(key, "").split()]
    return Unit(
        name,
        said.get("User", ""),
        said.get("ProtectSystem") or "no",
        said.get("ProtectHome") or "no",
        (*writable, *made),
        tuple(made),
        is_user_unit=is_user_unit,
    )


def _system() -> str:
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        name = ""
    kernel = f"{platform.system()} {platform.release()}"
    return f"{name}, {kernel}" if name else kernel


def _lacks_of_sqlite() -> tuple[str, ...]:
    lacks = [] if sqlite3.threadsafety > 0 else ["THREADSAFE"]
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute("SELECT value FROM json_each('[1]')")
        except sqlite3.OperationalError:
            lacks.append("JSON")
    return tuple(lacks)


def _is_synchronized() -> bool | None:
    # NOTE: a buffer of zeros asks for nothing to be changed; the answer is what the call returns.
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else bool(state != _TIME_ERROR)


def _processes_of(uid: int) -> Iterator[Path]:
    try:
        names = [name for name in os.listdir(_PROC) if name.isdigit()]  # noqa: PTH208 - thousands
    except OSError:
        return
    for name in names:
        process = _PROC / name
        try:
            if process.stat().st_uid == uid:
                yield process
        except OSError:
            continue


def _inotify_of(process: Path) -> Iterator[int]:
    """Yield how many directories each inotify of a process watches."""
    try:
        descriptors = os.listdir(process / "fd")  # noqa: PTH208
    except OSError:
        return
    for descriptor in descriptors:
        try:
            is_inotify = os.readlink(process / "fd" / descriptor) == "anon_inode:inotify"  # noqa: PTH115
        except OSError:
            continue
        if is_inotify:
            yield _text(process / "fdinfo" / descriptor).count("\ninotify ")


def _descriptors(daemon_pid: int) -> int | None:
    for line in _text(_PROC / str(daemon_pid) / "limits").splitlines() if daemon_pid else ():
        if line.startswith("Max open files"):
            soft = line.split()[3]
            return int(soft) if soft.isdigit() else None
    soft_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft_limit == resource.RLIM_INFINITY else soft_limit


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
