"""What the doctor concludes from facts: how bad it is, and what to do about it."""

import re
import stat
from collections.abc import Iterable
from pathlib import Path

import pytest

from syncd.daemon.doctor.facts import (
    Clock,
    Container,
    DaemonFacts,
    DeviceFacts,
    Failing,
    FileSystem,
    Kind,
    Limits,
    Place,
    Program,
    Secret,
    ServerFacts,
    Software,
    StoreFacts,
    StoreFiles,
    Trouble,
    Unit,
    User,
)
from syncd.daemon.doctor.findings import Finding, Level, diagnosis
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
from syncd.values import replace

SYNCD = User(990, "syncd")
ROOT_ASKS = User(990, "syncd", is_us=False, is_root=True)
NOW = 1_800_000_000.0
DAY = 86400.0
EXT4 = FileSystem("/srv", "ext4", (1, 1), total_bytes=10**12, free_bytes=10**11, total_inodes=10**7, free_inodes=10**6)


def place(path: str, mode: int = 0o600, kind: Kind = Kind.FILE, **others: object) -> Place:
    given = {"uid": 990, "may_read": True, "may_write": True, "file_system": EXT4, "size_bytes": 9, **others}
    file_type = {Kind.DIRECTORY: stat.S_IFDIR, Kind.SOCKET: stat.S_IFSOCK}.get(kind, stat.S_IFREG)
    return Place(Path(path), kind, mode=file_type | mode, **given)  # type: ignore[arg-type]


def directory(path: str, mode: int = 0o700, **others: object) -> Place:
    return place(path, mode, Kind.DIRECTORY, **others)


def missing(path: str, *, may_write: bool = False) -> Place:
    return Place(Path(path), Kind.MISSING, may_write=may_write, file_system=EXT4)


DOCUMENTED = frozenset(
    name
    for line in (Path(__file__).parents[3] / "docs" / "commands.md")
    .read_text()
    .partition("## syncd doctor")[2]
    .splitlines()
    if line.startswith("| `")
    for name in re.findall(r"`([a-z_]+)`", line.split("|")[1])
)


def test_each_check_that_is_documented_is_made() -> None:
    """And the others of these tests make none that is not."""
    sources = (Path(__file__).parents[3] / "syncd" / "daemon" / "doctor").glob("*.py")
    written = set(re.findall(r'"([a-z_]+)"', "".join(source.read_text() for source in sources)))

    assert len(DOCUMENTED) > 30
    assert DOCUMENTED - {"check"} <= written


def worst(findings: Iterable[Finding]) -> tuple[str, str, str]:
    """Return level, check and remedy of the worst finding; whatever is worse than a note has a remedy."""
    found = list(findings)
    assert all(one.remedy for one in found if one.level > Level.NOTE)
    assert {one.check for one in found} <= DOCUMENTED
    one = max(found, key=lambda one: one.level)
    return one.level.name, one.check, one.remedy


@pytest.mark.parametrize(
    ("file", "where", "expected"),
    [
        (place("/c/f", 0o640), directory("/c"), ("OK", "")),
        (place("/c/f", 0o644), directory("/c", 0o755), ("OK", "")),
        (place("/c/f", 0o660), directory("/c"), ("WARNING", "chmod go-w /c/f")),
        (place("/c/f", 0o666), directory("/c"), ("ERROR", "chmod go-w /c/f")),
        (place("/c/f"), directory("/c", 0o777), ("ERROR", "chmod go-w /c")),
        (place("/tmp/f"), directory("/tmp", 0o1777), ("OK", "")),
        (place("/c/it's f", may_read=False), directory("/c"), ("ERROR", "sudo chown syncd '/c/it'\"'\"'s f'")),
    ],
)
def test_configuration_is_nobody_elses_to_write(file: Place, where: Place, expected: tuple[str, str]) -> None:
    """Whoever can write it can run a password_command."""
    level, check, remedy = worst(judge_config_file(file, where, SYNCD))

    assert (level, remedy) == expected
    assert check == "config_rights"


@pytest.mark.parametrize(
    ("found", "is_private", "expected"),
    [
        (place("/s/work"), False, ("OK", "secret_rights", "")),
        (place("/s/work", 0o440), False, ("NOTE", "secret_rights", "chmod 600 /s/work, unless that is meant")),
        (place("/s/work", 0o644), False, ("WARNING", "secret_rights", "chmod 600 /s/work")),
        (place("/s/work", 0o602), False, ("ERROR", "secret_rights", "chmod 600 /s/work")),
        (place("/run/secrets/work", 0o444), True, ("OK", "secret_rights", "")),
        (missing("/s/work"), False, ("ERROR", "secret_missing", "write the password into it, and chmod 600 /s/work")),
        (place("/s/work", size_bytes=0), False, ("ERROR", "secret_missing", "write the password into its first line")),
        (
            place("/s/work", may_read=False),
            False,
            ("ERROR", "secret_unreadable", "sudo chown syncd /s/work, and chmod 600 /s/work"),
        ),
        (
            directory("/s/work"),
            False,
            ("ERROR", "secret_unreadable", "sudo chown syncd /s/work, and chmod 600 /s/work"),
        ),
    ],
)
def test_password_is_there_and_for_its_owner_alone(
    found: Place, is_private: bool, expected: tuple[str, str, str]
) -> None:
    """What a container or systemd keeps in a directory of its own is private whatever the file says."""
    assert worst(judge_secret(Secret("accounts.work.password_file", found, is_private=is_private), SYNCD)) == expected


@pytest.mark.parametrize(
    ("key", "level"), [("hooks.on_new_mail", "WARNING"), ("accounts.work.password_command", "ERROR")]
)
def test_program_that_is_not_there_is_named(key: str, level: str) -> None:
    """Without a hook mail goes on; without a password it does not."""
    [found] = judge_program(Program(key, "nosuchprog", is_found=False))

    assert worst([found])[:2] == (level, "program")
    assert found.where == f"{key}: nosuchprog"
    assert worst(judge_program(Program(key, "true", is_found=True))) == ("OK", "program", "")


def test_program_that_only_the_daemon_may_know_is_a_warning() -> None:
    """Its $PATH is not that of another user who asks."""
    found = Program("accounts.work.password_command", "nosuchprog", is_found=False, is_certain=False)

    assert worst(judge_program(found))[:2] == ("WARNING", "program")


def test_authority_that_is_not_there_is_an_error() -> None:
    """Without it no server of that account is trusted."""
    assert list(judge_ca_file("accounts.work.ca_file", place("/c/ca.pem", 0o644), SYNCD)) == []
    assert worst(judge_ca_file("accounts.work.ca_file", missing("/c/ca.pem"), SYNCD))[:2] == ("ERROR", "ca_file")


STATE = directory("/var/lib/syncd")
STORE = place("/var/lib/syncd/syncd.db")


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        (StoreFiles(STORE, STATE), ("OK", "store_directory", "")),
        (StoreFiles(missing("/s/db"), missing("/s", may_write=True)), ("NOTE", "store_directory", "")),
        (
            StoreFiles(missing("/s/db"), missing("/s")),
            ("ERROR", "store_directory", "sudo install -d -o syncd -m 0700 /s"),
        ),
        (StoreFiles(STORE, directory("/s", may_write=False)), ("ERROR", "store_directory", "sudo chown syncd /s")),
        (StoreFiles(STORE, directory("/s", 0o777)), ("ERROR", "store_directory", "chmod 700 /s")),
        (
            StoreFiles(STORE, directory("/s", may_write=False, file_system=replace(EXT4, is_read_only=True))),
            ("ERROR", "store_directory", "sudo mount -o remount,rw /srv"),
        ),
        (
            StoreFiles(STORE, directory("/s", file_system=replace(EXT4, kind="nfs4", tells=False))),
            ("WARNING", "store_file_system", "a disk of this machine for [store] url, or a PostgreSQL"),
        ),
        (StoreFiles(place("/s/db", 0o644), STATE), ("WARNING", "store_rights", "chmod 600 /s/db")),
        (
            StoreFiles(STORE, STATE, beside=(place("/s/db-wal", uid=0),)),
            ("ERROR", "store_rights", "sudo chown syncd /s/db-wal"),
        ),
        (
            StoreFiles(STORE, STATE, backups=(place("/s/db.before-0012"),)),
            ("NOTE", "store_backup", "once all is well: rm /s/db.before-0012"),
        ),
    ],
)
def test_store_is_the_daemons_alone(store: StoreFiles, expected: tuple[str, str, str]) -> None:
    """A file that root left beside it, as SQLite does, would lock the daemon out."""
    assert worst(judge_store_files(store, SYNCD)) == expected


@pytest.mark.parametrize(
    ("socket", "where", "expected"),
    [
        (place("/r/s", kind=Kind.SOCKET), directory("/r"), ("OK", "socket_directory", "")),
        (missing("/r/s", may_write=True), missing("/r", may_write=True), ("OK", "socket_directory", "")),
        (missing("/r/s"), directory("/r", may_write=False), ("ERROR", "socket_directory", "sudo chown syncd /r")),
        (missing("/r/s", may_write=True), directory("/r", 0o770), ("WARNING", "socket_directory", "chmod go-w /r")),
        (place("/r/s", 0o666, Kind.SOCKET), directory("/r"), ("WARNING", "socket", "chmod 600 /r/s")),
        (place("/r/s"), directory("/r"), ("ERROR", "socket", "move /r/s away")),
        (missing(f"/r/{'x' * 110}"), directory("/r"), ("ERROR", "socket", "a shorter [daemon] socket")),
    ],
)
def test_socket_can_be_made_and_is_the_owners(socket: Place, where: Place, expected: tuple[str, str, str]) -> None:
    """Else no command reaches the daemon, or another one answers in its place."""
    assert worst(judge_socket(socket, where, SYNCD)) == expected


def test_who_asks_for_another_user_is_told_how_to_see_more() -> None:
    """Root sees the files, and leaves the store alone."""
    assert worst(judge_user(SYNCD))[0] == "OK"
    assert worst(judge_user(ROOT_ASKS)) == ("NOTE", "user", "sudo -u syncd syncd doctor")
    assert worst(judge_user(User(990, "syncd", is_us=False)))[0] == "WARNING"
    assert worst(judge_user(User(10001, "10001", is_us=False))) == ("WARNING", "user", "sudo -u '#10001' syncd doctor")


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        (EXT4, ("OK", "disk_space")),
        (replace(EXT4, free_bytes=10**9), ("WARNING", "disk_space")),
        (replace(EXT4, total_bytes=10**10, free_bytes=10**9), ("OK", "disk_space")),
        (replace(EXT4, free_bytes=10**7), ("ERROR", "disk_space")),
        (replace(EXT4, free_inodes=500), ("WARNING", "disk_inodes")),
        (replace(EXT4, free_inodes=0), ("ERROR", "disk_inodes")),
        (replace(EXT4, total_inodes=0, free_inodes=0), ("OK", "disk_space")),
    ],
)
def test_room_is_told_before_it_is_gone(system: FileSystem, expected: tuple[str, str]) -> None:
    """By room and by number of files, which each message is one of."""
    assert worst(judge_disk([("store", directory("/srv", file_system=system))]))[:2] == expected


def test_file_system_is_judged_once_and_an_upgrade_needs_room_for_a_copy() -> None:
    """However many devices are on it."""
    places = [("store", directory("/srv/a")), ("devices.laptop", directory("/srv/b"))]

    (one,) = judge_disk(places)
    both = list(judge_disk(places, store_bytes=2 * 10**11))

    assert one.where == "/srv (store, devices.laptop)"
    assert [each.level for each in both] == [Level.OK, Level.WARNING]


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (DeviceFacts("laptop", directory("/srv/l"), is_known=True), ("OK", "device_rights")),
        (DeviceFacts("laptop", missing("/srv/l", may_write=True)), ("OK", "device_rights")),
        (DeviceFacts("laptop", missing("/srv/l")), ("ERROR", "device_rights")),
        (DeviceFacts("laptop", missing("/srv/l", may_write=True), is_known=True), ("ERROR", "device_missing")),
        (DeviceFacts("laptop", directory("/srv/l"), is_known=True, is_marked=False), ("ERROR", "device_missing")),
        (DeviceFacts("laptop", directory("/srv/l"), is_marked=False), ("OK", "device_rights")),
        (DeviceFacts("laptop", directory("/srv/l"), is_marked=False, is_used=True), ("ERROR", "device_foreign")),
        (DeviceFacts("laptop", directory("/srv/l"), is_used=True), ("OK", "device_rights")),
        (DeviceFacts("laptop", directory("/srv/l", may_write=False)), ("ERROR", "device_rights")),
        (DeviceFacts("laptop", place("/srv/l", may_write=False)), ("ERROR", "device_rights")),
        (DeviceFacts("laptop", directory("/srv/l", 0o777)), ("WARNING", "device_rights")),
        (DeviceFacts("laptop", directory("/srv/l"), strays="2 below job/"), ("WARNING", "device_strays")),
        (DeviceFacts("laptop", directory("/srv/l"), former="2 of account old"), ("NOTE", "device_strays")),
        (
            DeviceFacts("laptop", directory("/l", file_system=replace(EXT4, kind="vfat", is_case_blind=True))),
            ("ERROR", "device_file_system"),
        ),
        (
            DeviceFacts("laptop", directory("/l", file_system=replace(EXT4, is_case_blind=True))),
            ("WARNING", "device_file_system"),
        ),
        (
            DeviceFacts("laptop", directory("/l", file_system=replace(EXT4, kind="nfs4", tells=False))),
            ("NOTE", "device_file_system"),
        ),
    ],
)
def test_directory_of_a_device_is_judged_for_what_mail_needs(device: DeviceFacts, expected: tuple[str, str]) -> None:
    """One that was there and is not is away, and nothing is made in its place."""
    assert worst(judge_device(device, SYNCD))[:2] == expected


def test_devices_that_share_no_copies_are_named_by_their_mounts() -> None:
    """A hard link leads to no other mount, not even on one disk."""
    laptop, phone = DeviceFacts("laptop", directory("/srv/l")), DeviceFacts("phone", directory("/srv/p"))
    elsewhere = replace(phone, place=directory("/mnt/p", file_system=replace(EXT4, identity=(1, 2))))

    assert list(judge_links([laptop])) == []
    assert [one.level for one in judge_links([laptop, phone])] == [Level.OK]
    assert [(one.level, one.where) for one in judge_links([laptop, elsewhere])] == [(Level.NOTE, "laptop; phone")]
    assert list(judge_links([laptop, replace(elsewhere, is_linking=False)])) == []


def test_limits_of_inotify_are_counted_against_all_directories() -> None:
    """With what other programs of the same user have, and with the command that raises them."""
    devices = [DeviceFacts("laptop", directory("/srv/l"), directories=6000)]
    near = Limits(watches=8192, watches_used=1000, instances=128, instances_used=3)

    enough, also = judge_watches(devices, replace(near, watches=100_000))
    level, check, remedy = worst(judge_watches(devices, replace(near, watches_used=4000)))

    assert (enough.level, also.level) == (Level.OK, Level.OK)
    assert worst(judge_watches(devices, near))[:2] == ("NOTE", "inotify")
    assert (level, check) == ("WARNING", "inotify")
    command = "echo fs.inotify.max_user_watches=20002 | sudo tee /etc/sysctl.d/60-max-user-watches.conf"
    assert remedy == f"{command}, and sudo sysctl --system"
    assert worst(judge_watches(devices, Limits(instances=128, instances_used=127)))[:2] == ("WARNING", "inotify")
    assert list(judge_watches(devices, Limits())) == []


def test_descriptors_are_enough_for_accounts_and_devices() -> None:
    """The usual 1,024 are, for nearly everybody."""
    assert worst(judge_descriptors(Limits(descriptors=1024), accounts=10, devices=3))[0] == "OK"
    assert worst(judge_descriptors(Limits(descriptors=1024), accounts=400, devices=3))[:2] == ("ERROR", "descriptors")
    assert list(judge_descriptors(Limits(), accounts=400, devices=3)) == []


SOFTWARE = Software("0.1.0", "CPython 3.11.7", "Debian", (3, 51, 3), (), "OpenSSL 3")


@pytest.mark.parametrize(
    ("software", "needs_postgres", "expected"),
    [
        (SOFTWARE, False, ("OK", "version")),
        (replace(SOFTWARE, sqlite=(3, 34, 1)), False, ("ERROR", "sqlite")),
        (replace(SOFTWARE, sqlite_lacks=("THREADSAFE",)), False, ("ERROR", "sqlite")),
        (replace(SOFTWARE, sqlite=(3, 40, 1)), False, ("OK", "version")),
        (replace(SOFTWARE, missing=("psycopg",)), False, ("OK", "version")),
        (replace(SOFTWARE, missing=("psycopg",)), True, ("ERROR", "libraries")),
        (replace(SOFTWARE, missing=("aiohttp",)), False, ("ERROR", "libraries")),
    ],
)
def test_versions_are_judged_by_what_is_used(
    software: Software, needs_postgres: bool, expected: tuple[str, str]
) -> None:
    """psycopg is missed by none who has no PostgreSQL."""
    assert worst(judge_software(software, needs_postgres=needs_postgres))[:2] == expected


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        (Clock(NOW, True, NOW - 9), "OK"),
        (Clock(NOW, None, None), "OK"),
        (Clock(NOW, False, NOW + 9), "NOTE"),
        (Clock(NOW, True, NOW + 3600), "WARNING"),
        (Clock(NOW, True, NOW + 30 * DAY), "ERROR"),
    ],
)
def test_clock_is_not_before_what_has_happened(clock: Clock, expected: str) -> None:
    """A board without a battery starts in the past, where no certificate is valid."""
    assert worst(judge_clock(clock))[0] == expected


@pytest.mark.parametrize(
    ("path", "unit", "expected"),
    [
        ("/srv/mail/l", Unit("syncd.service", "syncd", "strict", "yes", (Path("/srv/mail"),)), "OK"),
        ("/srv/more/l", Unit("syncd.service", "syncd", "strict", "yes", (Path("/srv/mail"),)), "ERROR"),
        ("/srv/more/l", Unit("syncd.service", "syncd", "full", "yes"), "OK"),
        ("/home/ana/Mail", Unit("syncd.service", "syncd", "strict", "yes", (Path("/home/ana/Mail"),)), "ERROR"),
        ("/home/ana/Mail", Unit("syncd.service", "syncd", "strict", "read-only", (Path("/home/ana/Mail"),)), "OK"),
        ("/home/ana/Mail", Unit("syncd.service", "syncd", "no", "read-only"), "ERROR"),
        ("/home/ana/Mail", Unit("syncd.service", "syncd", "strict", "tmpfs", (Path("/home/ana/Mail"),)), "ERROR"),
        ("/home/ana/Mail", Unit("syncd.service", is_user_unit=True), "OK"),
    ],
)
def test_unit_that_keeps_the_daemon_from_a_directory_is_found(path: str, unit: Unit, expected: str) -> None:
    """The remedy is a drop-in, and the directory has to be there first."""
    level, check, remedy = worst(judge_unit(unit, [("devices.laptop", directory(path))], SYNCD))

    assert (level, check) == (expected, "unit_paths")
    assert ("systemctl edit syncd.service: [Service] ReadWritePaths=" in remedy) == (expected == "ERROR")


def test_unit_of_another_user_than_the_stores_is_found() -> None:
    """It would be refused the store."""
    unit = Unit("syncd.service", "mail")

    level, check, remedy = worst(judge_unit(unit, [], SYNCD))
    assert (level, check) == ("WARNING", "unit_user")
    assert "User=syncd" in remedy


def test_nobody_is_told_to_run_the_daemon_as_root() -> None:
    """Where root made the store it is given away; before there is a store, nobody's user is another than the unit's."""
    unit = Unit("syncd.service", "syncd")

    assert worst(judge_unit(unit, [], User(0, "root"))) == (
        "WARNING",
        "unit_user",
        "give the files of the store to syncd (chown)",
    )
    assert worst(judge_unit(unit, [], User(0, "root", has_store=False)))[0] == "OK"


def test_container_that_would_take_the_mail_along_is_found() -> None:
    """And one into which a single file is mounted, whose edits nobody sees."""
    own = replace(EXT4, mount_point="/", kind="overlay")
    docker = Container("docker", frozenset({"/etc/syncd/syncd.toml"}))

    found = list(
        judge_container(
            docker, place("/etc/syncd/syncd.toml"), [("store", directory("/var/lib/syncd", file_system=own))]
        )
    )

    assert [(one.level.name, one.check) for one in found] == [
        ("NOTE", "container"),
        ("WARNING", "container_config"),
        ("WARNING", "container_volume"),
    ]
    assert found[-1].remedy == "mount a volume: -v NAME:/var/lib/syncd"


SERVER = ServerFacts("work", "imap", "imap.example.org", 993, "implicit")
TRUSTED = replace(SERVER, protocol="TLSv1.3", valid_until=NOW + 60 * DAY)


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (TRUSTED, ("OK", "certificate")),
        (replace(TRUSTED, valid_until=NOW + 5 * DAY), ("WARNING", "certificate")),
        (replace(TRUSTED, capabilities=frozenset({"IMAP4REV1", "IDLE"})), ("OK", "certificate")),
        (replace(TRUSTED, capabilities=frozenset({"IMAP4REV2"})), ("OK", "certificate")),
        (replace(TRUSTED, capabilities=frozenset({"IMAP4REV1"})), ("NOTE", "capabilities")),
        (replace(TRUSTED, kind="pop3", capabilities=frozenset({"TOP"})), ("NOTE", "capabilities")),
        (replace(TRUSTED, kind="pop3", capabilities=frozenset({"UIDL"})), ("OK", "certificate")),
        (replace(TRUSTED, trouble=Trouble.LOGIN, error="refused"), ("ERROR", "login")),
        (replace(TRUSTED, trouble=Trouble.PASSWORD, error="is empty"), ("ERROR", "login")),
        (replace(TRUSTED, trouble=Trouble.BUSY, error="in use"), ("NOTE", "login")),
        (replace(SERVER, trouble=Trouble.EXPIRED, error="expired"), ("ERROR", "certificate")),
        (replace(SERVER, trouble=Trouble.NAME, error="no such name"), ("ERROR", "server")),
        (replace(SERVER, tls="none"), ("WARNING", "certificate")),
        (replace(SERVER, tls="none", is_loopback=True), ("OK", "certificate")),
    ],
)
def test_server_is_judged_as_far_as_it_was_seen(server: ServerFacts, expected: tuple[str, str]) -> None:
    """Its certificate is told of two weeks before it ends."""
    assert worst(judge_server(server, NOW))[:2] == expected


@pytest.mark.parametrize("trouble", Trouble)
def test_each_trouble_with_a_server_has_its_remedy(trouble: Trouble) -> None:
    """In words that name the account, the server or the key."""
    found = list(judge_server(replace(SERVER, trouble=trouble, error="no"), NOW))

    assert len(found) == 1
    assert "{" not in found[0].remedy
    assert found[0].remedy or trouble is Trouble.BUSY


@pytest.mark.parametrize(
    ("server", "remedy"),
    [
        (
            replace(SERVER, trouble=Trouble.OWN_CERTIFICATE_FILE, login_key="password_file"),
            "see whether the daemon's user gets it: client_cert of accounts.work",
        ),
        (
            replace(SERVER, trouble=Trouble.PROOF),
            "it may not be your server: check host of accounts.work, and ask whoever runs imap.example.org",
        ),
        (
            replace(SERVER, trouble=Trouble.UNKNOWN_AUTHORITY),
            "install ca-certificates; for an authority of your own: ca_file of accounts.work, a PEM file with it; for a"
            " certificate that no authority signed: pin_sha256, which whoever runs imap.example.org reads off there"
            " (openssl x509 -noout -fingerprint -sha256 -in FILE)",
        ),
        (
            replace(SERVER, trouble=Trouble.LOGIN, provider="outlook", login_key="password_file"),
            "Outlook takes no passwords any more, only tokens of OAuth: set oauth or token_command of accounts.work in"
            " place of password_file",
        ),
        (
            replace(SERVER, trouble=Trouble.LOGIN, provider="outlook", login_key="oauth"),
            "correct username of accounts.work, or log in as that one: syncd auth login work",
        ),
        (replace(SERVER, trouble=Trouble.NO_TOKEN, login_key="oauth"), "syncd auth login work"),
        (
            replace(SERVER, trouble=Trouble.LOGIN, provider="outlook", login_key="token_command"),
            "correct username or token_command of accounts.work: the token should be one for mail of this user",
        ),
        (
            replace(SERVER, trouble=Trouble.LOGIN, provider="fastmail"),
            "correct username or password of accounts.work; Fastmail takes an app password, and not the password of the"
            " account",
        ),
        (replace(SERVER, trouble=Trouble.LOGIN, provider="posteo"), "correct username or password of accounts.work"),
    ],
)
def test_remedy_is_about_what_the_trouble_is_about(server: ServerFacts, remedy: str) -> None:
    """The key that it names is the one to look at, and a provider that is known is told of as it is."""
    assert worst(judge_server(server, NOW))[2] == remedy


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        (StoreFacts("/s/db", "current", "0012", "0012"), ("OK", "schema")),
        (StoreFacts("/s/db", "empty", None, "0012"), ("NOTE", "schema")),
        (StoreFacts("/s/db", "behind", "0011", "0012"), ("ERROR", "schema")),
        (StoreFacts("/s/db", "newer", "0013", "0012"), ("ERROR", "schema")),
        (StoreFacts("/s/db", "foreign", None, "0012"), ("ERROR", "schema")),
        (StoreFacts("/s/db", "current", "0012", "0012", damages=("page 7",)), ("ERROR", "store")),
        (StoreFacts("/s/db", "current", "0012", "0012", is_whole=False), ("NOTE", "store")),
        (StoreFacts("/s/db", "current", "0012", "0012", wal_bytes=10**9), ("WARNING", "store")),
        (StoreFacts("/s/db", error="the file of the store is damaged"), ("ERROR", "store")),
    ],
)
def test_store_is_whole_and_of_this_version(store: StoreFacts, expected: tuple[str, str]) -> None:
    """One that is behind is upgraded by a person, where it is not by itself."""
    assert worst(judge_store(store, auto_migrate=False))[:2] == expected


def test_store_that_upgrades_by_itself_is_no_error() -> None:
    """It is copied first."""
    assert worst(judge_store(StoreFacts("/s/db", "behind", "0011", "0012"), auto_migrate=True))[:2] == (
        "NOTE",
        "schema",
    )


SOCKET, RUN = place("/r/s", kind=Kind.SOCKET), directory("/r")
UP = DaemonFacts(SOCKET, RUN, is_running=True, pid=7, version="0.1.0", config="/c/f")


@pytest.mark.parametrize(
    ("daemon", "expected"),
    [
        (UP, ("OK", "daemon")),
        (replace(UP, version="0.0.9"), ("WARNING", "daemon_version")),
        (replace(UP, config="/c/g"), ("WARNING", "daemon_config")),
        (replace(UP, config="f"), ("OK", "daemon")),
        (replace(UP, problems=("f:3: unknown key",)), ("ERROR", "daemon_config")),
        (replace(UP, at_restart=("store.url",)), ("WARNING", "daemon_config")),
        (replace(UP, failing=(Failing("account", "work", "refused"),)), ("ERROR", "daemon_failing")),
        (replace(UP, held=2), ("NOTE", "daemon_holds")),
        (DaemonFacts(SOCKET, RUN, error="does not answer"), ("ERROR", "daemon")),
        (DaemonFacts(missing("/r/s"), RUN), ("NOTE", "daemon")),
        (DaemonFacts(SOCKET, RUN), ("WARNING", "daemon")),
        (DaemonFacts(missing("/r/s"), RUN, store_owner_pid=9), ("WARNING", "daemon")),
    ],
)
def test_daemon_is_held_against_what_is_installed_and_written(daemon: DaemonFacts, expected: tuple[str, str]) -> None:
    """One that does not run is a choice; one that was killed, or runs something else, is told."""
    assert worst(judge_daemon(daemon, config="/c/f", version="0.1.0"))[:2] == expected


def test_remedy_of_who_fails_is_that_of_status() -> None:
    """A person is told one thing to do, by whatever they ask."""
    failing = Failing("account", "work", "login refused", remedy="check username")

    assert worst(judge_daemon(replace(UP, failing=(failing,)), config="/c/f", version="0.1.0"))[2] == "check username"


def test_holds_are_counted_as_one_or_as_several() -> None:
    """What is counted are holds, not the messages in them."""
    found = (one for held in (1, 2) for one in judge_daemon(replace(UP, held=held), config="/c/f", version="0.1.0"))

    said = [one.what for one in found if one.check == "daemon_holds"]
    assert said == ["1 hold waits for a person", "2 holds wait for a person"]


def test_file_that_the_daemon_has_not_read_since_an_edit_is_not_called_usable() -> None:
    """It may be about to say the same of it."""
    known = replace(UP, loaded_at=NOW)

    assert daemon_can_use(known, "/c/f", edited_at=NOW - 1)
    assert not daemon_can_use(known, "/c/f", edited_at=NOW + 1)
    assert not daemon_can_use(known, "/c/g", edited_at=NOW - 1)
    assert not daemon_can_use(replace(known, problems=("no",)), "/c/f", edited_at=NOW - 1)
    assert not daemon_can_use(DaemonFacts(SOCKET, RUN), "/c/f", edited_at=0.0)


def test_worst_is_what_a_person_sees_last() -> None:
    """Next to the prompt."""
    findings = [Finding(level, "x", "x", "x") for level in (Level.ERROR, Level.OK, Level.WARNING)]

    found = diagnosis(findings, at=NOW, config="/c/f", is_usable=True, is_offline=False)

    assert [one.level for one in found.findings] == [Level.OK, Level.WARNING, Level.ERROR]
    assert found.worst is Level.ERROR
