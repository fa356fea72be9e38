"""Floor 5: one examination: all facts looked at, and all findings; a configuration that cannot be used does not end it.

House rules. `look_at_...` files do I/O and conclude nothing; `judge_...` files conclude and do no I/O. Nothing is
written, made or locked anywhere, and every wait for others has a deadline.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shlex import quote

from pydantic import ValidationError

from syncd.config.load import FIRST, Reading, read
from syncd.config.model import Config
from syncd.config.places import SYSTEM_FILE, config_files, existing
from syncd.config.problems import ConfigError, Problem
from syncd.config.reachable import socket_of
from syncd.daemon.doctor import look_at_machine as machine
from syncd.daemon.doctor.facts import DaemonFacts, Kind, Place, ServerFacts, StoreFacts, User
from syncd.daemon.doctor.findings import Diagnosis, Finding, Level, diagnosis, error, note, ok, warning
from syncd.daemon.doctor.judge_devices import judge_descriptors, judge_device, judge_links, judge_watches
from syncd.daemon.doctor.judge_files import (
    judge_ca_file,
    judge_config_file,
    judge_disk,
    judge_program,
    judge_secret,
    judge_socket,
    judge_store_files,
    judge_user,
)
from syncd.daemon.doctor.judge_machine import judge_clock, judge_container, judge_software, judge_unit
from syncd.daemon.doctor.judge_servers import judge_server
from syncd.daemon.doctor.judge_service import daemon_can_use, judge_daemon, judge_store
from syncd.daemon.doctor.look_at_files import Looker, user_of
from syncd.daemon.doctor.look_at_servers import look_at_servers
from syncd.daemon.doctor.look_at_service import daemon_facts, look_at_store
from syncd.daemon.people.answers_json import STATUS_JSON
from syncd.daemon.people.reading import installed_version
from syncd.daemon.status.status import Status
from syncd.errors import SyncdError
from syncd.store.people.checkup import Checkup
from syncd.values import replace

_SERVERS_S = 20.0
_STORE_S = 20.0
_CORRECT = "correct it, until syncd check-config has nothing to say"
_KEY = re.compile(r"(accounts|devices|hooks)\.[a-z0-9_.-]+")
"""How the place of what is about a key begins."""

Ask = Callable[[Path], bytes | None]
"""Returns the status of the daemon at a socket, as JSON; None: nobody is there. SyncdError: somebody is, not well."""


def examine(path: Path | None, *, ask: Ask, is_offline: bool, logs_in: bool) -> Diagnosis:
    """Examine everything around a configuration; blocks for as long as the slowest server, or the store, may take.

    path: of the configuration, None for the usual places. logs_in: not only connect to the servers.
    """
    places = config_files(os.environ)
    file = (path or existing(places) or places[0]).absolute()
    try:
        reading = read(path, needs_logins=False)
    except ConfigError as problems:
        findings = tuple(_without_config(file, problems, ask, _socket(path)))
    else:
        found = _with_config(reading, file, ask, is_offline=is_offline, logs_in=logs_in)
        findings = tuple(_with_line(one, reading) for one in found)
    is_usable = not any(one.check == "config" and one.level is Level.ERROR for one in findings)
    return diagnosis(findings, at=time.time(), config=str(file), is_usable=is_usable, is_offline=is_offline)


def _socket(path: Path | None) -> Path | None:
    """Return where the daemon of a configuration answers that cannot be used, None where that is not told."""
    try:
        return socket_of(path)
    except ConfigError:
        return None


def is_used_by_daemon(reading: Reading, *, ask: Ask) -> bool:
    """Tell whether a running daemon has found this configuration, as it is now, to be usable."""
    look = Looker(user_of(reading.config))
    daemon = _daemon(look, ask, reading.config.daemon.socket, None)
    file = reading.path.absolute()
    return daemon_can_use(daemon, str(file), edited_at=_edited_at(file))


def probe(reading: Reading) -> Diagnosis:
    """Return how the servers of all accounts are, and whether each can be logged in at; nothing else is looked at."""
    now = time.time()
    servers = look_at_servers(reading.config, logs_in=True, deadline_s=_SERVERS_S)
    found = [_with_line(one, reading) for server in servers for one in judge_server(server, now)]
    return diagnosis(found, at=now, config=str(reading.path), is_usable=True, is_offline=False)


def _with_line(found: Finding, reading: Reading) -> Finding:
    """Return a finding with the line of the key that it is about, if it is about one."""
    key = _KEY.match(found.where)
    return replace(found, line=reading.keys.line(tuple(key[0].split(".")))) if key is not None else found


def _without_config(file: Path, found: ConfigError, ask: Ask, socket: Path | None) -> Iterator[Finding]:
    user, look = _daemon_user(None, file)
    version = installed_version()
    yield from judge_software(machine.software(version), needs_postgres=False)
    yield from judge_config_file(look.place(file), look.place(file.parent), user)
    daemon = _daemon(look, ask, socket, None) if socket is not None else None
    if daemon is not None:
        yield from judge_socket(daemon.socket, daemon.socket_directory, user)
        yield from judge_daemon(daemon, config=str(file), version=version)
    can_daemon = daemon is not None and daemon_can_use(daemon, str(file), edited_at=_edited_at(file))
    yield from _problems(found.problems, look, file, can_daemon=can_daemon)
    yield from judge_clock(machine.clock(None))
    yield from _around(look, file, ())


def _problems(problems: Iterable[Problem], look: Looker, file: Path, *, can_daemon: bool) -> Iterator[Finding]:
    for problem in problems:
        where, what = problem.where or str(file), f"{problem.key}: {problem.text}" if problem.key else problem.text
        if can_daemon:
            text = f"{what}; the daemon can use it, having credentials or variables that are not here"
            yield note("config_elsewhere", where, text, "run the doctor with what the daemon gets to see all of it")
        else:
            remedy = FIRST if look.place(file).kind is Kind.MISSING else _CORRECT
            yield error("config", where, what.removesuffix(f": {FIRST}"), remedy)


def _daemon_user(config: Config | None, file: Path) -> tuple[User, Looker]:
    """Return who the daemon runs as, or would, and what looks with the eyes of that user."""
    unit = machine.unit(0, is_system_config=file == SYSTEM_FILE)
    user = user_of(config, service=unit.user if unit is not None else "")
    return user, Looker(user, made=unit.made if unit is not None else ())


def _edited_at(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return time.time()


def _with_config(reading: Reading, file: Path, ask: Ask, *, is_offline: bool, logs_in: bool) -> Iterator[Finding]:
    config = reading.config
    user, look = _daemon_user(config, file)
    version = installed_version()
    servers, store, checkup = _slow(config, user, is_offline=is_offline, logs_in=logs_in)
    daemon = _daemon(look, ask, config.daemon.socket, config.store.sqlite_path)
    known, accounts = (checkup.devices, checkup.accounts) if checkup is not None else ({}, frozenset[str]())
    devices = tuple(look.devices(config, known, accounts=accounts))
    limits = machine.limits(user.uid, daemon.pid)

    kept = _kept(look, config)
    yield from judge_user(user)
    yield from judge_software(machine.software(version), needs_postgres=config.store.sqlite_path is None)
    yield from _config(reading)
    can_daemon = daemon_can_use(daemon, str(file), edited_at=_edited_at(file))
    yield from _problems(reading.without_login, look, file, can_daemon=can_daemon)
    if user.is_us or user.is_root:  # others see too little to say anything of it
        yield from _files(config, file, look, user, daemon)
        of_devices = {device.name: tuple(judge_device(device, user)) for device in devices}
        for found in of_devices.values():
            yield from found
        told = {name for name, found in of_devices.items() if any(one.level is Level.ERROR for one in found)}
        yield from judge_daemon(_without(daemon, told), config=str(file), version=version)
    if store is not None:
        yield from judge_store(store, auto_migrate=config.store.auto_migrate)
    yield from judge_links(devices)
    yield from judge_watches(devices, limits)
    yield from judge_descriptors(limits, accounts=len(config.accounts), devices=len(devices))
    yield from judge_disk(kept, store_bytes=store.size_bytes if store is not None else 0)
    yield from judge_clock(machine.clock(checkup.newest_at if checkup is not None else None))
    if (unit := machine.unit(daemon.pid, is_system_config=file == SYSTEM_FILE)) is not None:
        yield from judge_unit(unit, (*kept, ("daemon.socket", daemon.socket_directory)), user)
    yield from _around(look, file, kept)
    for server in servers:
        yield from judge_server(server, time.time())


def _without(daemon: DaemonFacts, devices: Set[str]) -> DaemonFacts:
    """Return what is known of a daemon without the failures of devices of which the reason is told already."""
    failing = (one for one in daemon.failing if not (one.kind == "device" and one.name in devices))
    return replace(daemon, failing=tuple(failing))


def _files(config: Config, file: Path, look: Looker, user: User, daemon: DaemonFacts) -> Iterator[Finding]:
    yield from judge_config_file(look.place(file), look.place(file.parent), user)
    for secret in look.secrets(config):
        yield from judge_secret(secret, user)
    for program in look.programs(config):
        yield from judge_program(program)
    for key, place in look.ca_files(config):
        yield from judge_ca_file(key, place, user)
    if config.store.sqlite_path is not None:
        yield from judge_store_files(look.store_files(config.store.sqlite_path), user)
    yield from judge_socket(daemon.socket, daemon.socket_directory, user)


def _config(reading: Reading) -> Iterator[Finding]:
    for one in reading.warnings:
        what = f"{one.key}: {one.text}" if one.key else one.text
        # NOTE: what is of the file and of no key is that others can read the passwords in it.
        remedy = _CORRECT if one.key else f"chmod 600 {quote(one.where)}"
        yield warning("config_doubtful", one.where, what, remedy)
    if reading.without_login:
        return
    counts = {"account": len(reading.config.accounts), "device": len(reading.config.devices)}
    accounts, devices = (f"{number:,} {noun}{'' if number == 1 else 's'}" for noun, number in counts.items())
    yield ok("config", str(reading.path), f"it can be used, and has {accounts} and {devices}")


def _kept(look: Looker, config: Config) -> tuple[tuple[str, Place], ...]:
    """Return where syncd keeps what has to last, by its key."""
    path = config.store.sqlite_path
    store = (("store", look.place(path.parent)),) if path is not None else ()
    return (*store, *((f"devices.{name}", look.place(device.path)) for name, device in config.devices.items()))


def _around(look: Looker, file: Path, kept: tuple[tuple[str, Place], ...]) -> Iterator[Finding]:
    if (container := machine.container()) is not None:
        yield from judge_container(container, look.place(file), kept)


def _slow(
    config: Config, user: User, *, is_offline: bool, logs_in: bool
) -> tuple[tuple[ServerFacts, ...], StoreFacts | None, Checkup | None]:
    """Look at servers and store at the same time; at the store of another user not at all."""
    with ThreadPoolExecutor(1) as beside:
        may_look = user.is_us or config.store.sqlite_path is None
        looking = beside.submit(look_at_store, config, timeout_s=_STORE_S) if may_look else None
        servers = () if is_offline else look_at_servers(config, logs_in=logs_in, deadline_s=_SERVERS_S)
        store, checkup = looking.result() if looking is not None else (None, None)
        return servers, store, checkup


def _daemon(look: Looker, ask: Ask, socket: Path, store: Path | None) -> DaemonFacts:
    status: Status | None = None
    why = ""
    try:
        answer = ask(socket)
        status = STATUS_JSON.validate_json(answer) if answer is not None else None
    except SyncdError as found:
        why = str(found)
    except ValidationError:
        why = "what answers there is another syncd than this one, or none"
    return daemon_facts(status, error=why, socket=look.place(socket), directory=look.place(socket.parent), store=store)
