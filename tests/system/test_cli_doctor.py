"""`syncd doctor` as a process: against real servers, with the daemon up and down, and with what people meet."""

import json
import ssl
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.servers.daemon import ROOT, Daemon
from tests.servers.dovecot import Dovecot
from tests.system.mail import imap_account, pop3_account

MakeDaemon = Callable[..., Daemon]
MakeDovecot = Callable[..., Dovecot]

SURROUNDINGS = frozenset(
    {"clock", "container", "container_volume", "descriptors", "disk_inodes", "disk_space", "inotify"}
)
"""What depends on where the tests run."""
LEVELS = ("ok", "note", "warning", "error")


def examined(daemon: Daemon, *options: str) -> tuple[int, dict[str, Any]]:
    """Return exit code and answer of a doctor that says nothing else."""
    ended = daemon.syncd("doctor", "--json", *options)
    assert ended.stderr == ""
    return ended.returncode, json.loads(ended.stdout)


def trouble(answer: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Return what is worse than a note: level, check, and the first word of where."""
    return {
        (one["level"], one["check"], one["where"].split(":")[0])
        for one in answer["findings"]
        if one["level"] in LEVELS[2:] and one["check"] not in SURROUNDINGS
    }


def of(answer: dict[str, Any], check: str) -> list[dict[str, Any]]:
    return [one for one in answer["findings"] if one["check"] == check]


def encrypted(server: Dovecot, user: str, **keys: object) -> dict[str, object]:
    account = imap_account(server, user, tls="implicit", port=server.imaps_port, host="localhost")
    return {**account, "ca_file": str(server.ca_file), **keys}


def test_sound_installation_has_no_trouble_with_the_daemon_up_or_down(
    make_dovecot: MakeDovecot, make_daemon: MakeDaemon
) -> None:
    """Certificates are dated, logins are tried if wanted, and nothing is left where the doctor was."""
    server = make_dovecot(certificate_left=timedelta(days=60))
    pop3 = {**pop3_account(server, "isp"), "tls": "starttls", "host": "localhost", "ca_file": str(server.ca_file)}
    daemon = make_daemon({"work": encrypted(server, "ana"), "isp": pop3})
    daemon.directory.chmod(0o700)  # whatever the umask

    with daemon:
        daemon.sync()
        code, up = examined(daemon, "--login")
        text = daemon.syncd("doctor", "--offline", "--all")
    before = sorted(daemon.directory.rglob("*"))
    down_code, down = examined(daemon, "--offline")

    assert (code, down_code, text.returncode, text.stderr) == (0, 0, 0, "")
    assert (trouble(up), trouble(down)) == (set(), set())
    assert {key: type(value).__name__ for key, value in up.items()} == {
        "at": "float",
        "config": "str",
        "is_usable": "bool",
        "is_offline": "bool",
        "worst": "str",
        "counts": "dict",
        "findings": "list",
    }
    assert [one["what"].split(" until")[0] for one in of(up, "certificate")] == [
        "encrypted (TLSv1.3); its certificate is valid"
    ] * 2
    assert "QRESYNC" in of(up, "capabilities")[0]["what"]
    assert of(up, "daemon")[0]["what"] == f"it runs (pid {up_pid(up)})"
    assert of(down, "daemon")[0]["level"] == "note"
    assert of(down, "certificate") == []
    assert "ok       accounts.work" not in text.stdout
    assert f"ok       {daemon.store}: it is whole" in text.stdout
    assert sorted(daemon.directory.rglob("*")) == before


def up_pid(answer: dict[str, Any]) -> str:
    return "".join(filter(str.isdigit, of(answer, "daemon")[0]["what"]))


def test_what_goes_wrong_for_people_is_named_with_a_remedy(
    make_dovecot: MakeDovecot, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """An expired certificate, one of another authority, a wrong password, open files, a disk that is not mounted."""
    server = make_dovecot(certificate_left=-timedelta(minutes=5))
    password = tmp_path / "password"
    password.write_text("not-the-one\n")
    password.chmod(0o644)
    unencrypted = {key: value for key, value in imap_account(server, "bo").items() if key != "password"}
    accounts = {
        "expired": encrypted(server, "ana"),
        "open": {**unencrypted, "password_file": str(password)},
        "closed": imap_account(server, "cy", port=1),
        "unmade": {**unencrypted, "username": "di", "password_file": str(tmp_path / "nothing")},
    }
    daemon = make_daemon({})
    daemon.sync()
    for name in ("laptop", "phone"):
        (tmp_path / name).rename(tmp_path / f"unmounted-{name}")
    (tmp_path / "laptop").mkdir(0o700)
    devices = {name: {"path": str(tmp_path / name)} for name in ("laptop", "phone")}
    daemon.configure({"accounts": accounts, "devices": devices})
    daemon.directory.chmod(0o700)
    daemon.store.chmod(0o644)

    code, answer = examined(daemon, "--login")

    assert code == 1
    assert trouble(answer) == {
        ("error", "certificate", "accounts.expired"),
        ("error", "login", "accounts.open"),
        ("warning", "secret_rights", "accounts.open.password_file"),
        ("error", "server", "accounts.closed"),
        ("error", "login", "accounts.unmade"),
        ("error", "secret_missing", "accounts.unmade.password_file"),
        ("error", "device_missing", "devices.laptop"),
        ("error", "device_missing", "devices.phone"),
        ("warning", "store_rights", str(daemon.store)),
    }
    assert all(one["remedy"] for one in answer["findings"] if one["level"] in LEVELS[2:])
    assert "expired" in of(answer, "certificate")[0]["what"]
    lines = daemon.config_file.read_text().splitlines()
    of_keys = [one for one in answer["findings"] if one["where"].startswith(("accounts.", "devices."))]
    assert "password_file" in lines[of(answer, "secret_missing")[0]["line"] - 1]
    assert all(one["line"] is not None for one in of_keys)
    assert answer["worst"] == "error"
    assert {level: len([1 for one in answer["findings"] if one["level"] == level]) for level in LEVELS} == answer[
        "counts"
    ]
    assert ssl.OPENSSL_VERSION in of(answer, "version")[0]["what"]


def test_broken_configuration_ends_only_what_needs_it(make_daemon: MakeDaemon) -> None:
    """Each problem is told with its line, and so is that the daemon goes on without it; exit code 2."""
    with make_daemon({}) as daemon:
        assert daemon.request("POST", "/reload")[0] == 200
        daemon.config_file.write_text(daemon.config_file.read_text() + "[gaurd]\ncount = 3\n")
        assert daemon.request("POST", "/reload")[0] == 200
        code, up = examined(daemon)
    down_code, down = examined(daemon)
    shown = daemon.syncd("doctor")

    assert (code, down_code, shown.returncode) == (2, 2, 2)
    line = len(daemon.config_file.read_text().splitlines()) - 1
    for answer in (up, down):
        assert [(one["where"], one["what"]) for one in of(answer, "config")] == [
            (f"{daemon.config_file}:{line}", 'gaurd: unknown key (did you mean "guard"?)')
        ]
        assert (answer["is_usable"], answer["worst"]) == (False, "error")
        assert of(answer, "version")
    assert "goes on with the configuration that it had" in of(up, "daemon_config")[0]["what"]
    assert of(down, "daemon")[0]["level"] == "note"
    assert shown.stdout.splitlines()[-1].endswith("most was not looked at")


def test_configuration_that_only_the_daemon_can_use_is_no_error(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """Systemd gives it credentials that no terminal has."""
    daemon = make_daemon({}, devices=(), environment={"SYNCD_DEVICES__LAPTOP__PATH": str(tmp_path / "laptop")})
    daemon.configure({"devices": {"laptop": {"link": True}}})
    with daemon:
        ended = subprocess.run(
            [sys.executable, "-m", "syncd", "doctor", "--json", "--config", str(daemon.config_file)],
            cwd=ROOT,
            env={"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
    answer = json.loads(ended.stdout)

    (told,) = of(answer, "config_elsewhere")
    assert (ended.returncode, told["level"]) == (0, "note")
    assert told["what"].startswith("devices.laptop.path: missing; the daemon can use it")


def test_newcomer_is_led_to_a_first_configuration(tmp_path: Path) -> None:
    """Where there is none, there is nothing to correct."""
    ended = subprocess.run(
        [sys.executable, "-m", "syncd", "doctor", "--json"],
        cwd=ROOT,
        env={"HOME": str(tmp_path), "SYNCD_CONFIG": str(tmp_path / "syncd.toml")},
        capture_output=True,
        text=True,
        timeout=60,
    )

    (found,) = of(json.loads(ended.stdout), "config")
    assert (ended.returncode, found["remedy"]) == (2, "syncd init makes a first one, or name yours with --config")
