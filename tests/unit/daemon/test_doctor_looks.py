"""What the doctor sees of files, units, locks and errors."""

import os
import pwd
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from syncd.config.model import Config
from syncd.daemon.doctor import look_at_machine as machine
from syncd.daemon.doctor.facts import Kind, Trouble, Unit, User
from syncd.daemon.doctor.look_at_files import Looker, has_right, user_of
from syncd.daemon.doctor.look_at_servers import trouble_of
from syncd.errors import (
    LoginRefusedError,
    OwnCertificateError,
    PinError,
    RefusedError,
    SecretError,
    SyncdError,
    TooSlowError,
    TrustError,
    UnreachableError,
)

US = User(os.geteuid(), "us")


def test_place_is_seen_as_it_is_and_nothing_is_made(tmp_path: Path) -> None:
    """Also what could be made, and what a link leads to."""
    file = tmp_path / "file"
    file.write_text("secret\n")
    file.chmod(0o640)
    (tmp_path / "link").symlink_to(file)
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    look = Looker(US)

    seen = look.place(tmp_path / "link")
    deep = look.place(tmp_path / "a" / "b" / "c")

    assert (seen.kind, seen.mode & 0o777, seen.uid, seen.size_bytes) == (Kind.FILE, 0o640, os.geteuid(), 7)
    assert seen.file_system is not None
    assert seen.file_system.total_bytes > 0
    assert (deep.kind, deep.may_write, deep.nearest) == (Kind.MISSING, True, tmp_path)
    assert look.place(tmp_path / "dangling").kind is Kind.MISSING
    assert look.place(tmp_path).kind is Kind.DIRECTORY
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file", "link"]


def test_program_is_found_if_the_daemons_user_may_run_it() -> None:
    """Whatever who asks may run: the doctor is asked by root as well, and by whoever wrote the configuration."""
    with TemporaryDirectory(dir="/tmp") as made:  # where others may look, as they may not below tmp_path
        there = Path(made)
        there.chmod(0o755)
        for name, mode in {"ours": 0o700, "any": 0o755, "none": 0o644}.items():
            (there / name).touch()
            (there / name).chmod(mode)
        hooks = {key: [f"{there}/{name}"] for key, name in (("on_hold", "ours"), ("on_error", "any"))}
        hooks |= {"on_new_mail": [f"{there}/none"], "on_auth_error": ["nosuchprog"]}
        config = Config.model_validate({"store": {"url": "sqlite:///s"}, "daemon": {"socket": "s"}, "hooks": hooks})

        ours, others = (
            {Path(one.name).name: (one.is_found, one.is_certain) for one in Looker(user).programs(config)}
            for user in (US, User(os.geteuid() + 1, "other", is_us=False))
        )

    assert ours == {"ours": (True, True), "any": (True, True), "none": (False, True), "nosuchprog": (False, True)}
    assert others == {"ours": (False, True), "any": (True, True), "none": (False, True), "nosuchprog": (False, False)}


def test_before_there_is_a_store_the_user_of_the_unit_is_looked_for(tmp_path: Path) -> None:
    """Root is not taken for the user of the daemon because nothing was started yet; a store says it for certain."""
    store = tmp_path / "lib" / "syncd.db"
    config = Config.model_validate({"store": {"url": f"sqlite:///{store}"}, "daemon": {"socket": "s"}})
    nobody = pwd.getpwnam("nobody")

    before = user_of(config, service="nobody")
    store.parent.mkdir()
    store.touch()
    after = user_of(config, service="nobody")

    assert before == User(nobody.pw_uid, "nobody", is_us=False, is_root=os.geteuid() == 0, has_store=False)
    assert (after.uid, after.is_us, after.has_store) == (os.geteuid(), True, True)
    assert user_of(None).uid == user_of(None, service="nosuch").uid == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_store_that_we_may_not_look_at_belongs_to_who_keeps_us_out() -> None:
    """Else whoever asks would be told to take it away from its owner."""
    program = (
        "import os, sys; from syncd.config.model import Config; from syncd.daemon.doctor.look_at_files import user_of\n"
        "config = Config.model_validate({'store': {'url': sys.argv[1]}, 'daemon': {'socket': 's'}})\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "print(user_of(config).uid, user_of(config).is_us)\n"
    )
    with TemporaryDirectory(dir="/tmp") as directory:
        store = Path(directory) / "state" / "syncd" / "syncd.db"
        store.parent.mkdir(parents=True)
        Path(directory).chmod(0o755)
        store.parent.parent.chmod(0o700)
        said = subprocess.run(
            [sys.executable, "-c", program, f"sqlite:///{store}"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    assert said == "0 False\n"


def test_directory_that_systemd_makes_may_be_missing(tmp_path: Path) -> None:
    """Before the start, and that of the socket after each stop."""
    state = tmp_path / "lib" / "syncd"

    assert Looker(User(1, "other", is_us=False)).place(state).may_write is False
    assert Looker(User(1, "other", is_us=False), made=(state,)).place(state).may_write is True


def test_fresh_file_system_is_of_nobody(tmp_path: Path) -> None:
    """Adopting says the same of it."""
    device = tmp_path / "laptop"
    (device / "lost+found").mkdir(parents=True)
    store = {"url": f"sqlite:///{tmp_path}/syncd.db"}
    config = Config.model_validate(
        {"store": store, "devices": {"laptop": {"path": str(device)}}, "daemon": {"socket": "s"}}
    )

    def is_used() -> bool:
        (facts,) = Looker(US).devices(config, {})
        return facts.is_used

    assert not is_used()
    (device / "file").touch()
    assert is_used()


@pytest.mark.parametrize(
    ("uid", "gid", "mode", "want", "expected"),
    [
        (990, 1, 0o700, os.R_OK | os.X_OK, True),
        (990, 990, 0o077, os.R_OK, False),
        (1, 990, 0o750, os.R_OK | os.X_OK, True),
        (1, 990, 0o750, os.W_OK, False),
        (1, 990, 0o707, os.R_OK, False),
        (1, 1, 0o755, os.R_OK | os.X_OK, True),
        (1, 1, 0o754, os.R_OK | os.X_OK, False),
    ],
)
def test_what_another_user_may_do_is_read_off_the_rights(
    uid: int, gid: int, mode: int, want: int, expected: bool
) -> None:
    """The first of owner, group and others that fits decides alone."""
    found = os.stat_result((mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))

    assert has_right(found, 990, frozenset({990}), want) is expected


SHOWN = """\
User=syncd
ProtectSystem=strict
ProtectHome=yes
ReadWritePaths=-/srv/mail /srv/more
StateDirectory=syncd
RuntimeDirectory=syncd
LoadState=loaded
"""


def test_unit_is_read_off_what_systemd_shows() -> None:
    """Of one that it does not know, nothing is said."""
    writable = tuple(map(Path, ("/srv/mail", "/srv/more", "/var/lib/syncd", "/run/syncd")))

    unit = machine.unit_of("syncd.service", SHOWN, is_user_unit=False)
    bare = machine.unit_of("syncd.service", "LoadState=loaded\nUser=\nProtectSystem=no\n", is_user_unit=True)

    assert unit == Unit("syncd.service", "syncd", "strict", "yes", writable, writable[2:])
    assert bare == Unit("syncd.service", is_user_unit=True)
    assert machine.unit_of("syncd.service", "LoadState=not-found\n", is_user_unit=False) is None


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        ("0::/system.slice/syncd.service\n", ("syncd.service", False)),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/syncd.service\n", ("syncd.service", True)),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/term.scope\n", (None, True)),
        ("0::/user.slice/user-1000.slice/session-1.scope\n", (None, False)),
        ("", (None, False)),
    ],
)
def test_service_is_told_by_its_control_group(cgroup: str, expected: tuple[str | None, bool]) -> None:
    """A daemon in a terminal is in none."""
    name, is_user_unit = machine.unit_of_cgroup(cgroup)

    assert name == expected[0]
    assert name is None or is_user_unit == expected[1]


def test_machine_tells_its_limits_and_its_time() -> None:
    """Here, too."""
    limits, clock, software = machine.limits(os.geteuid(), 0), machine.clock(None), machine.software("0.1.0")

    assert limits.descriptors is None or limits.descriptors > 0
    assert limits.watches_used >= 0
    assert abs(clock.now - time.time()) < 60
    assert "sqlalchemy" in software.libraries
    assert set(software.missing) <= {"psycopg"}


def caused(error: SyncdError, cause: BaseException) -> SyncdError:
    error.__cause__ = cause
    return error


def verification(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError("no")
    error.verify_code = code
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (caused(TrustError("no"), verification(10)), Trouble.EXPIRED),
        (caused(TrustError("no"), verification(9)), Trouble.NOT_YET),
        (caused(TrustError("no"), verification(62)), Trouble.OTHER_NAME),
        (caused(TrustError("no"), verification(20)), Trouble.UNKNOWN_AUTHORITY),
        (caused(TrustError("no"), PermissionError()), Trouble.CA_FILE),
        (caused(TrustError("no"), ssl.SSLError()), Trouble.CA_FILE),
        (caused(TrustError("no"), verification(99)), Trouble.TRUST),
        (TrustError("no"), Trouble.TRUST),
        (TrustError("the server did not prove itself at login"), Trouble.PROOF),
        (TrustError("the server does not offer encryption on this port"), Trouble.TLS),
        (PinError("no"), Trouble.PIN),
        (caused(OwnCertificateError("no"), ssl.SSLError()), Trouble.OWN_CERTIFICATE),
        (caused(UnreachableError("no"), socket.gaierror(-2, "no")), Trouble.NAME),
        (caused(UnreachableError("no"), ssl.SSLError(1, "no")), Trouble.TLS),
        (caused(UnreachableError("no"), ConnectionRefusedError()), Trouble.ROUTE),
        (TooSlowError("no"), Trouble.SLOW),
        (SecretError("no"), Trouble.PASSWORD),
        (SecretError("the file of client_cert cannot be used: no such file"), Trouble.OWN_CERTIFICATE_FILE),
        (LoginRefusedError("no"), Trouble.LOGIN),
        (RefusedError("no", code="IN-USE"), Trouble.BUSY),
        (RefusedError("no", code="UNAVAILABLE"), Trouble.OTHER),
        (ValueError("no"), Trouble.OTHER),
    ],
)
def test_error_of_a_connection_says_what_kind_of_trouble_it_is(error: Exception, expected: Trouble) -> None:
    """By what caused it, and by words of our own where that is the same."""
    assert trouble_of(error) is expected
