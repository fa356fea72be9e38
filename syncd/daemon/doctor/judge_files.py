"""Floor 5: judge files and directories: whether the daemon may use them, and whether anybody may who should not."""

import stat
from collections.abc import Callable, Iterable, Iterator
from shlex import quote

from syncd.config.amounts import size
from syncd.daemon.doctor.facts import Kind, Place, Program, Secret, StoreFiles, User
from syncd.daemon.doctor.findings import Finding, error, note, ok, warning

_SOCKET_PATH_MAX_BYTES = 107
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_FULL_BYTES = 64 * 1024 * 1024
"""What the log of the store may grow to between two checkpoints."""
_LITTLE_BYTES = 2 * 1024**3
_LITTLE_SHARE = 0.05
_FEW_INODES = 10_000


def judge_user(user: User) -> Iterator[Finding]:
    """Judge whether whoever asks sees what the daemon sees."""
    if user.is_us:
        yield ok("user", user.name, "the doctor runs as the user of the daemon")
        return
    remedy = f"sudo -u {user.name if not user.name.isdigit() else quote(f'#{user.uid}')} syncd doctor"
    who = f"the store belongs to {user.name}" if user.has_store else f"the daemon would run as {user.name}"
    what = f"{who}: what that user may do was read off owners and rights"
    yield (note if user.is_root else warning)("user", user.name, f"{what}; the store itself was left alone", remedy)


def judge_config_file(file: Place, directory: Place, user: User) -> Iterator[Finding]:
    """Judge the configuration and where it is: whoever can write it can run a password_command or a token_command."""
    where, named = str(file.path), quote(str(file.path))
    if file.kind in (Kind.MISSING, Kind.HIDDEN):
        return  # which is a problem of the configuration already
    if not file.may_read:
        yield error("config_rights", where, f"{user.name} may not read it", f"sudo chown {user.name} {named}")
    elif file.mode & _OTHERS_WRITE:
        what = "others can write it, and with it the commands that syncd runs"
        yield _by_whom(file)("config_rights", where, what, f"chmod go-w {named}")
    elif _is_open(directory):
        what = "others can put another file in its place"
        yield _by_whom(directory)("config_rights", where, what, f"chmod go-w {quote(str(directory.path))}")
    else:
        yield ok("config_rights", where, "only its owner can change it")


def judge_secret(secret: Secret, user: User) -> Iterator[Finding]:
    """Judge a file with a password, with a certificate and its key, or with the key of the store."""
    place, check = secret.place, "secret_rights"
    is_key = secret.key.endswith((".client_cert", ".key_file"))
    held, written = ("key", "certificate and its key (PEM)") if is_key else ("password", "password")
    where, named = f"{secret.key}: {place.path}", quote(str(place.path))
    if place.kind is Kind.MISSING:
        yield error(
            "secret_missing", where, "there is no such file", f"write the {written} into it, and chmod 600 {named}"
        )
    elif place.kind is not Kind.FILE or not place.may_read:
        what = "is no file" if place.kind not in (Kind.FILE, Kind.HIDDEN) else f"cannot be read by {user.name}"
        yield error("secret_unreadable", where, what, f"sudo chown {user.name} {named}, and chmod 600 {named}")
    elif place.size_bytes == 0 and secret.key == "store.key_file":
        yield error(
            "secret_missing", where, "is empty", f"put the key back, or rm {named} and syncd auth login ACCOUNT"
        )
    elif place.size_bytes == 0:
        yield error(
            "secret_missing", where, "is empty", f"write the {written} into {'it' if is_key else 'its first line'}"
        )
    elif place.mode & _OTHERS_WRITE and not secret.is_private:
        yield _by_whom(place)(check, where, "others can write it", f"chmod 600 {named}")
    elif place.mode & stat.S_IROTH and not secret.is_private:
        yield warning(check, where, f"every user can read the {held}", f"chmod 600 {named}")
    elif place.mode & stat.S_IRGRP and not secret.is_private:
        yield note(check, where, f"its group can read the {held}", f"chmod 600 {named}, unless that is meant")
    else:
        yield ok(check, where, "only its owner can read it")


def judge_program(program: Program) -> Iterator[Finding]:
    """Judge a program that syncd runs; mail goes on without a hook, and not without a password."""
    where = f"{program.key}: {program.name}"
    if program.is_found:
        yield ok("program", where, "it is found")
        return
    what = "there is no such program, or it may not be run"
    remedy = f"install it, or correct {program.key}; it is looked for in $PATH unless it is a path"
    if not program.is_certain:
        what = "who asks does not find it, which the daemon still may, for it is another user, with another $PATH"
        remedy = f"see that the user that runs syncd has it in its $PATH, or may run the path in {program.key}"
    is_serious = program.is_certain and not program.key.startswith("hooks.")
    yield (error if is_serious else warning)("program", where, what, remedy)


def judge_ca_file(key: str, place: Place, user: User) -> Iterator[Finding]:
    """Judge a file of certificates."""
    if place.kind is not Kind.FILE or not place.may_read:
        what = "there is no such file" if place.kind is Kind.MISSING else f"cannot be read by {user.name}"
        remedy = f"put the certificates of the authority there (PEM), and chmod 644 {quote(str(place.path))}"
        yield error("ca_file", f"{key}: {place.path}", what, remedy)


def judge_store_files(store: StoreFiles, user: User) -> Iterator[Finding]:
    """Judge the files of a SQLite store, and where they are."""
    yield from _store_directory(store.directory, user)
    for place in (store.file, *store.beside):
        where, named = str(place.path), quote(str(place.path))
        if place.kind is Kind.MISSING:
            continue
        if place.kind is not Kind.FILE:
            yield error("store_rights", where, "something else than a file has this name", f"move {named} away")
        elif place.uid != user.uid:
            what = f"it belongs to another user (uid {place.uid}), which locks the daemon out"
            yield error("store_rights", where, what, f"sudo chown {user.name} {named}")
        elif stat.S_IMODE(place.mode) & 0o077:
            yield warning("store_rights", where, "others can read all mail in it", f"chmod 600 {named}")
        else:
            yield ok("store_rights", where, "only its owner can use it")
    for place in store.backups:
        what = f"a copy that an upgrade left, of {size(place.size_bytes)}"
        yield note("store_backup", str(place.path), what, f"once all is well: rm {quote(str(place.path))}")


def _store_directory(place: Place, user: User) -> Iterator[Finding]:
    where, named = str(place.path), quote(str(place.path))
    if place.kind is Kind.MISSING and place.may_write:
        yield note("store_directory", where, "it is not there yet, and is made at the first start")
    elif not place.may_write:
        yield from unwritable("store_directory", where, place, user)
    elif _is_open(place):
        yield _by_whom(place)("store_directory", where, "others can write in it", f"chmod 700 {named}")
    else:
        yield ok("store_directory", where, f"{user.name} can write in it")
    kind = place.file_system.kind if place.file_system else ""
    if place.file_system and not place.file_system.tells:
        yield warning(
            "store_file_system",
            where,
            f"it is on {kind}, which may be of another machine: SQLite cannot rely on locks and durability there",
            "a disk of this machine for [store] url, or a PostgreSQL",
        )


def judge_socket(socket: Place, directory: Place, user: User) -> Iterator[Finding]:
    """Judge the control socket and where it is."""
    where, named = str(socket.path), quote(str(socket.path))
    if len(str(socket.path).encode()) > _SOCKET_PATH_MAX_BYTES:
        yield error("socket", where, "no socket can have so long a path", "a shorter [daemon] socket")
    elif socket.kind not in (Kind.SOCKET, Kind.MISSING, Kind.HIDDEN):
        yield error("socket", where, "something else than a socket has this name", f"move {named} away")
    elif socket.kind is Kind.HIDDEN or not directory.may_write:
        yield from unwritable("socket_directory", str(directory.path), directory, user)
    elif socket.kind is Kind.SOCKET and stat.S_IMODE(socket.mode) & 0o077:
        yield warning("socket", where, "others can connect to it, and are turned away", f"chmod 600 {named}")
    elif _is_open(directory):
        what = "others can put another socket in the place of the daemon's"
        yield warning("socket_directory", str(directory.path), what, f"chmod go-w {quote(str(directory.path))}")
    else:
        yield ok("socket_directory", str(directory.path), f"{user.name} can make the control socket in it")


def judge_disk(places: Iterable[tuple[str, Place]], *, store_bytes: int = 0) -> Iterator[Finding]:
    """Judge the room that there is, once for each file system. store_bytes: what an upgrade of the store copies."""
    seen: dict[tuple[int, int], list[str]] = {}
    systems = {}
    for name, place in places:
        if place.file_system is not None and place.file_system.total_bytes:
            seen.setdefault(place.file_system.identity, []).append(name)
            systems[place.file_system.identity] = place.file_system
    for identity, names in seen.items():
        system = systems[identity]
        where = f"{system.mount_point} ({', '.join(names)})"
        share = system.free_bytes / system.total_bytes
        room = f"{size(system.free_bytes)} of {size(system.total_bytes)} are free"
        remedy = f"make room (du -xh --max-depth=2 {quote(system.mount_point)} | sort -h), or a larger disk"
        if system.free_bytes < _FULL_BYTES:
            yield error("disk_space", where, f"it is full: {room}", remedy)
        elif system.free_bytes < _LITTLE_BYTES and share < _LITTLE_SHARE:
            yield warning("disk_space", where, f"it is nearly full: {room}", remedy)
        else:
            yield ok("disk_space", where, room)
        if store_bytes > system.free_bytes and "store" in names:
            what = f"there is less room than the store has ({size(store_bytes)}), and an upgrade copies it first"
            yield warning("disk_space", where, what, remedy)
        if system.total_inodes and system.free_inodes < max(_FEW_INODES, system.total_inodes // 100):
            level = error if not system.free_inodes else warning
            what = f"{system.free_inodes:,} of {system.total_inodes:,} inodes are free, and each message is a file"
            yield level("disk_inodes", where, what, "remove files, or a file system with more inodes (mkfs.ext4 -i)")


def unwritable(check: str, where: str, place: Place, user: User) -> Iterator[Finding]:
    """Say why the daemon cannot write in a directory."""
    named = quote(str(place.path))
    if place.file_system and place.file_system.is_read_only:
        what = f"{place.file_system.mount_point} is mounted read-only"
        yield error(check, where, what, f"sudo mount -o remount,rw {quote(place.file_system.mount_point)}")
    elif place.kind is Kind.MISSING:
        what = f"it is not there, and {user.name} may not make it"
        yield error(check, where, what, f"sudo install -d -o {user.name} -m 0700 {named}")
    elif place.kind not in (Kind.DIRECTORY, Kind.HIDDEN):
        yield error(check, where, "something else than a directory has this name", f"move {named} away")
    else:
        yield error(check, where, f"{user.name} may not write in it", f"sudo chown {user.name} {named}")


def _by_whom(place: Place) -> Callable[[str, str, str, str], Finding]:
    """Return how bad it is that others may write: a group has often nobody else in it."""
    return error if place.mode & stat.S_IWOTH else warning


def _is_open(directory: Place) -> bool:
    """Tell whether others may exchange what is in a directory: with the sticky bit, they may not."""
    if directory.kind is not Kind.DIRECTORY or directory.mode & stat.S_ISVTX:
        return False
    return bool(directory.mode & _OTHERS_WRITE)
