"""Floor 5: the facts that the doctor judges, as they were looked at; nothing here says whether they are good."""

from enum import StrEnum
from pathlib import Path

from syncd.maildir.naming.misnamed import Misnamed
from syncd.values import Value, field


class Kind(StrEnum):
    """What a path leads to; hidden: this user may not know."""

    MISSING = "missing"
    HIDDEN = "hidden"
    FILE = "file"
    DIRECTORY = "directory"
    SOCKET = "socket"
    OTHER = "other"


class FileSystem(Value):
    """Describe what a path is on. identity: its number, and that of the mount: no link leads to another one.

    total_inodes 0: it has no such limit. tells: the kernel hears of all changes in it. is_case_blind: it takes two
    names for one that differ in case.
    """

    mount_point: str
    kind: str
    identity: tuple[int, int] = (0, 0)
    is_read_only: bool = False
    tells: bool = True
    is_case_blind: bool = False
    total_bytes: int = 0
    free_bytes: int = 0
    total_inodes: int = 0
    free_inodes: int = 0


class Place(Value):
    """Describe a path for the user of the daemon.

    may_write: of a directory, make and remove files in it; of what is missing, make it. nearest: what is there of it.
    """

    path: Path
    kind: Kind
    mode: int = 0
    uid: int = -1
    may_read: bool = False
    may_write: bool = False
    nearest: Path | None = None
    file_system: FileSystem | None = None
    size_bytes: int = 0


class User(Value):
    """Say who the daemon runs as, or would. is_us: the doctor runs as that user. is_root: it runs as root.

    has_store: the store is there, and belongs to that user; else it is the user of the unit, or whoever asks.
    """

    uid: int
    name: str
    is_us: bool = True
    is_root: bool = False
    has_store: bool = True


class Secret(Value):
    """Describe a file with a password. key: where it is named. is_private: in a directory that none but we can see."""

    key: str
    place: Place
    is_private: bool = False


class Program(Value):
    """Name a program that syncd runs. key: where it is named. is_certain: the daemon finds it if we do."""

    key: str
    name: str
    is_found: bool
    is_certain: bool = True


class StoreFiles(Value):
    """Describe the files of a SQLite store. backups: copies that upgrades left beside it."""

    file: Place
    directory: Place
    beside: tuple[Place, ...] = ()
    backups: tuple[Place, ...] = ()


class DeviceFacts(Value):
    """Describe a device. is_known: it had that path before. is_marked: what is there has a marker.

    is_used: somebody put something there. directories: what a watch has to watch.
    strays: which files are in no mailbox; misnamed: which directories no mailbox can be called; former: which files are
    of accounts that are not configured.
    """

    name: str
    place: Place
    is_known: bool = False
    is_marked: bool = True
    is_used: bool = False
    is_linking: bool = True
    is_watching: bool = True
    directories: int = 0
    strays: str = ""
    misnamed: tuple[Misnamed, ...] = ()
    former: str = ""


class Software(Value):
    """Name versions. libraries: of those that are installed; missing: those that are not and should be.

    sqlite_lacks: what SQLite was compiled without, of what the store needs.
    """

    syncd: str
    python: str
    system: str
    sqlite: tuple[int, ...]
    sqlite_lacks: tuple[str, ...]
    openssl: str
    libraries: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


class Limits(Value):
    """Describe what the kernel gives this user; None: it does not tell. used: by other programs than the daemon."""

    watches: int | None = None
    watches_used: int = 0
    instances: int | None = None
    instances_used: int = 0
    descriptors: int | None = None


class Clock(Value):
    """Say what time it is. is_synchronized None: the kernel does not tell. newest_at: the last the store tells of."""

    now: float
    is_synchronized: bool | None = None
    newest_at: float | None = None


class Trouble(StrEnum):
    """Why a server could not be used."""

    NAME = "name"
    ROUTE = "route"
    SLOW = "slow"
    TLS = "tls"
    EXPIRED = "expired"
    NOT_YET = "not_yet"
    OTHER_NAME = "other_name"
    UNKNOWN_AUTHORITY = "unknown_authority"
    CA_FILE = "ca_file"
    PIN = "pin"
    OWN_CERTIFICATE = "own_certificate"
    OWN_CERTIFICATE_FILE = "own_certificate_file"
    PROOF = "proof"
    TRUST = "trust"
    PASSWORD = "password"  # noqa: S105 - it could not be had
    NO_TOKEN = "no_token"  # noqa: S105 - as above
    TOKEN_ENDED = "token_ended"  # noqa: S105 - as above
    LOGIN = "login"
    BUSY = "busy"
    OTHER = "other"


class ServerFacts(Value):
    """Describe an account's server, as far as it could be asked. error: why no further.

    valid_until: of its certificate, in seconds since 1970; fingerprint: its SHA-256; is_pinned: that alone decided.
    protocol: of the encryption, None for none. capabilities: once logged in, None where that was not asked for.
    login_key: the key that says how to log in. provider: the name of one that is known.
    """

    account: str
    kind: str
    host: str
    port: int
    tls: str
    error: str = ""
    trouble: Trouble | None = None
    protocol: str | None = None
    valid_until: float | None = None
    fingerprint: str = ""
    is_pinned: bool = False
    capabilities: frozenset[str] | None = None
    is_loopback: bool = False
    login_key: str = "password"
    provider: str | None = None


class StoreFacts(Value):
    """Describe a store. error: why it could not be read. is_whole: the check of it came to its end in time."""

    where: str
    standing: str = ""
    stored: str | None = None
    head: str = ""
    error: str = ""
    size_bytes: int = 0
    wal_bytes: int = 0
    damages: tuple[str, ...] = ()
    is_whole: bool = True


class Failing(Value):
    """Name an account or device that a running daemon cannot serve, and why. remedy: as its status has it."""

    kind: str
    name: str
    error: str
    remedy: str = ""


class DaemonFacts(Value):
    """Describe the daemon. error: why it does not answer though it runs; other_owner: who else has the store.

    config: the file that it follows, loaded_at: since when. problems: why that cannot be used. at_restart: what of it
    waits for a restart.
    """

    socket: Place
    socket_directory: Place
    is_running: bool = False
    error: str = ""
    pid: int = 0
    version: str = ""
    config: str = ""
    loaded_at: float = 0.0
    problems: tuple[str, ...] = ()
    at_restart: tuple[str, ...] = ()
    failing: tuple[Failing, ...] = ()
    held: int = 0
    store_owner_pid: int | None = None


class Unit(Value):
    """Describe the unit of systemd that runs the daemon, or would. writable: the places that it may write.

    made: those of them that systemd makes at the start.
    """

    name: str
    user: str = ""
    protect_system: str = "no"
    protect_home: str = "no"
    writable: tuple[Path, ...] = ()
    made: tuple[Path, ...] = ()
    is_user_unit: bool = False


class Container(Value):
    """Describe the container that this is. mounts: paths that come from outside of it; None: it is none."""

    kind: str
    mounts: frozenset[str] = frozenset()
