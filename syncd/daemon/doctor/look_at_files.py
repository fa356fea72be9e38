"""Floor 5: look at files and directories, as the user of the daemon would find them; nothing is written or made."""

import os
import pwd
import stat
from collections.abc import Collection, Iterator, Mapping, Set
from itertools import islice
from pathlib import Path

from syncd.config.absences import is_program, programs
from syncd.config.model import Config, DeviceConfig
from syncd.config.problems import dotted
from syncd.config.sources import credential_files
from syncd.daemon.doctor.facts import DeviceFacts, FileSystem, Kind, Place, Program, Secret, StoreFiles, User
from syncd.errors import SyncdError
from syncd.maildir.disk.marker import MARKER, is_empty
from syncd.maildir.disk.root import ReplicaRoot
from syncd.maildir.naming.misnamed import Misnamed
from syncd.maildir.news.survey import survey, words_of, words_of_former
from syncd.maildir.news.watch import directories_to_watch
from syncd.maildir.system.mounts import MOUNTS, mount_of
from syncd.tls import PRIVATE_DIRECTORIES
from syncd.users import owner_of

_CASE_BLIND = frozenset({"apfs", "cifs", "exfat", "hfs", "hfsplus", "msdos", "smb3", "vfat"})
_NAMES_TRIED = 20
_ANY_MAY_RUN = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


def user_of(config: Config | None, *, service: str = "") -> User:
    """Return who the daemon runs as: whoever has the store; before there is one, whoever will make it.

    service: the user of the unit of systemd; else it is whoever has the place for the store, else whoever asks.
    """
    ours = os.geteuid()
    path = config.store.sqlite_path if config is not None else None
    if (owner := _owner_of(path)) is not None:
        return User(owner, _name_of(owner), is_us=owner == ours, is_root=ours == 0)
    owner = _uid_of(service)
    if owner is None and path is not None:
        owner = _owner_of(path.parent) if not _is_closed(path) else owner_of(path)
    if owner is None:
        owner = ours
    return User(owner, _name_of(owner), is_us=owner == ours, is_root=ours == 0, has_store=False)


class Looker:
    """Look at paths for one user. made: directories that systemd makes for it where they are missing."""

    def __init__(self, user: User, *, made: tuple[Path, ...] = ()) -> None:
        self._user = user
        self._made = made
        self._groups = frozenset(os.getgroups()) if user.is_us else _groups_of(user.uid)
        try:
            self._mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            self._mounts = ""

    def place(self, path: Path) -> Place:
        """Return what a path leads to."""
        nearest = self._nearest(path)
        system = self._file_system(nearest) if nearest is not None else None
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            may_make = path in self._made or (nearest is not None and self._may(nearest, os.W_OK | os.X_OK))
            return Place(path, Kind.MISSING, may_write=may_make, nearest=nearest, file_system=system)
        except OSError:  # one above may not be searched, or links go round
            return Place(path, Kind.HIDDEN, nearest=nearest, file_system=system)
        is_directory = stat.S_ISDIR(found.st_mode)
        return Place(
            path,
            _kind_of(found.st_mode),
            mode=found.st_mode,
            uid=found.st_uid,
            may_read=self._may(path, os.R_OK | (os.X_OK if is_directory else 0)),
            may_write=self._may(path, os.W_OK | (os.X_OK if is_directory else 0)),
            nearest=path,
            file_system=system,
            size_bytes=found.st_size,
        )

    def secrets(self, config: Config) -> Iterator[Secret]:
        """Yield the files with passwords, and with keys."""
        for name, account in config.accounts.items():
            if account.password_file is not None:
                yield self._secret(f"accounts.{name}.password_file", account.password_file)
            if account.client_cert is not None:
                yield self._secret(f"accounts.{name}.client_cert", account.client_cert)
        for path in credential_files():
            yield self._secret("credential", path)
        key = config.store.key_path
        if key is not None and any(account.oauth is not None for account in config.accounts.values()):
            secret = self._secret("store.key_file", key)
            if secret.place.kind is not Kind.MISSING:  # it is made at the first login
                yield secret

    def programs(self, config: Config) -> Iterator[Program]:
        """Yield the programs that are run; those without a path are looked for in our own $PATH."""
        for key, name in programs(config):
            place = self.place(Path(name)) if Path(name).is_absolute() else None
            is_found = is_program(name) if place is None else self._may_run(place)
            is_seen = place is not None and place.kind is not Kind.HIDDEN
            yield Program(dotted(key), name, is_found=is_found, is_certain=is_seen or self._user.is_us)

    def ca_files(self, config: Config) -> Iterator[tuple[str, Place]]:
        """Yield the files with certificates, by their keys."""
        for name, account in config.accounts.items():
            if account.ca_file is not None:
                yield f"accounts.{name}.ca_file", self.place(account.ca_file)

    def store_files(self, path: Path) -> StoreFiles:
        """Return what there is of a SQLite store."""
        beside = tuple(self.place(path.with_name(path.name + suffix)) for suffix in ("-wal", "-shm", ".lock"))
        try:
            copies = sorted(path.parent.glob(f"{path.name}.before-*"))
        except OSError:
            copies = []
        return StoreFiles(self.place(path), self.place(path.parent), beside, tuple(self.place(copy) for copy in copies))

    def devices(
        self, config: Config, known: Mapping[str, Path], *, accounts: Set[str] = frozenset()
    ) -> Iterator[DeviceFacts]:
        """Yield the devices. known: those of the store; accounts: of the store, too."""
        former = accounts - config.accounts.keys()
        for name, device in config.devices.items():
            strays, misnamed, of_former = _strays(device, config.accounts, former)
            try:
                directories = len(directories_to_watch(device.path)) if device.watch == "auto" else 0
            except (SyncdError, OSError):
                directories = 0
            yield DeviceFacts(
                name,
                self.place(device.path),
                is_known=known.get(name) == device.path,
                is_marked=os.path.lexists(device.path / MARKER),
                is_used=_is_used(device.path),
                is_linking=device.link,
                is_watching=device.watch == "auto",
                directories=directories,
                strays=strays,
                misnamed=misnamed,
                former=of_former,
            )

    def _secret(self, key: str, path: Path) -> Secret:
        given = os.environ.get("CREDENTIALS_DIRECTORY")
        private = (*PRIVATE_DIRECTORIES, *((Path(given),) if given else ()))
        return Secret(key, self.place(path), is_private=any(path.is_relative_to(one) for one in private))

    def _nearest(self, path: Path) -> Path | None:
        for place in (path, *path.parents):
            try:
                place.stat()
            except OSError:
                continue
            return place
        return None

    def _may(self, path: Path, mode: int) -> bool:
        if self._user.is_us:
            return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)
        real = Path(os.path.realpath(path))
        try:
            above = all(has_right(one.stat(), self._user.uid, self._groups, os.X_OK) for one in real.parents)
            return above and has_right(real.stat(), self._user.uid, self._groups, mode)
        except OSError:
            return False

    def _may_run(self, place: Place) -> bool:
        # NOTE: root may do everything but run what nobody may.
        return place.kind is Kind.FILE and bool(place.mode & _ANY_MAY_RUN) and self._may(place.path, os.X_OK)

    def _file_system(self, path: Path) -> FileSystem | None:
        try:
            found, device = os.statvfs(path), path.stat().st_dev
        except OSError:
            return None
        mount = mount_of(os.path.realpath(path), self._mounts)
        is_read_only = bool(found.f_flag & os.ST_RDONLY)
        if mount is None:
            mount_point, kind, number, tells = str(path), "unknown", 0, True
        else:
            mount_point, kind, number, tells = mount.point, mount.kind, mount.id, not mount.is_shared
        return FileSystem(
            mount_point,
            kind,
            identity=(device, number),
            is_read_only=is_read_only,
            tells=tells,
            is_case_blind=kind in _CASE_BLIND or _is_case_blind(path),
            total_bytes=found.f_blocks * found.f_frsize,
            free_bytes=found.f_bavail * found.f_frsize,
            total_inodes=found.f_files,
            free_inodes=found.f_favail,
        )


def has_right(found: os.stat_result, uid: int, groups: frozenset[int], mode: int) -> bool:
    """Tell what owner and rights of a file say to a user of these groups; access control lists are not looked at."""
    if uid == 0:
        return True
    shift = 6 if found.st_uid == uid else 3 if found.st_gid in groups else 0
    return (stat.S_IMODE(found.st_mode) >> shift) & mode == mode


def _is_case_blind(directory: Path) -> bool:
    """Tell whether a directory finds one of its names in other letters, too; one without names does not."""
    try:
        with os.scandir(directory) as entries:
            for entry in islice(entries, _NAMES_TRIED):
                other = entry.name.swapcase()
                if other != entry.name:
                    return (directory / other).lstat().st_ino == entry.inode()
    except OSError:
        pass
    return False


def _is_used(directory: Path) -> bool:
    try:
        with ReplicaRoot(directory) as root:
            return not is_empty(root)
    except (SyncdError, OSError):
        return False


def _strays(
    device: DeviceConfig, accounts: Collection[str], former: Collection[str]
) -> tuple[str, tuple[Misnamed, ...], str]:
    """Say which files are in no mailbox, which are where no mailbox can be, and which are of former accounts."""
    layout = device.layout.value
    try:
        with ReplicaRoot(device.path) as root:
            found = survey(root, layout, accounts=accounts, former=former)
    except (SyncdError, OSError):
        return "", (), ""  # what is the matter with it is judged by other facts
    others = tuple(one for one in found.strays if not one.is_misnamed)
    strays = words_of(others, layout, accounts=accounts) if others else ""
    return strays, found.misnamed, words_of_former(found.former)


def _kind_of(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return Kind.FILE
    if stat.S_ISDIR(mode):
        return Kind.DIRECTORY
    return Kind.SOCKET if stat.S_ISSOCK(mode) else Kind.OTHER


def _owner_of(path: Path | None) -> int | None:
    try:
        return path.stat().st_uid if path is not None else None
    except OSError:
        return None


def _is_closed(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, PermissionError)
    return False


def _uid_of(name: str) -> int | None:
    try:
        return int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)  # which chown and install take as well


def _groups_of(uid: int) -> frozenset[int]:
    try:
        entry = pwd.getpwuid(uid)
        return frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid))
    except (KeyError, OSError):
        return frozenset()
