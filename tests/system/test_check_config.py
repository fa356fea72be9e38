"""`syncd check-config` as a process."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.daemon import Daemon
from tests.servers.dovecot import Dovecot
from tests.system.mail import imap_account, pop3_account

EXAMPLE = Path(__file__).parents[2] / "deploy" / "syncd.example.toml"
SYNCD = (sys.executable, "-m", "syncd")
GOOD = """\
[accounts.work]
type = "imap"
host = "imap.example.org"
username = "ana"
password = "tr0ub4dor"
[devices.laptop]
path = "laptop"
"""


def syncd(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run syncd to its end with only these variables."""
    return subprocess.run(
        [sys.executable, "-m", "syncd", *arguments],
        cwd=Path(__file__).parents[2],
        env={"HOME": "/nonexistent", **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def written(directory: Path, text: str) -> str:
    file = directory / "syncd.toml"
    file.write_text(text)
    file.chmod(0o600)
    return str(file)


def test_good_configuration_is_summed_up_in_one_line(tmp_path: Path) -> None:
    """A person sees that the file that they mean was read, and exit code 0."""
    file = written(tmp_path, GOOD)

    ended = syncd("check-config", "--config", file)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{file}: 1 account, 1 device\n", "")


def test_configuration_without_accounts_says_so(tmp_path: Path) -> None:
    """An empty file is no error, and no secret either that nothing will be synced."""
    ended = syncd("check-config", "--config", written(tmp_path, ""))

    assert ended.returncode == 0
    assert "no accounts, no devices" in ended.stdout
    assert "there is no device, so nothing is synced" in ended.stderr


def test_every_problem_is_printed_and_the_exit_code_is_two(tmp_path: Path) -> None:
    """Scripts see the code, people all the lines; nobody sees the secret."""
    file = written(tmp_path, GOOD.replace("password", "pasword") + "setle = 1\n")

    ended = syncd("check-config", "--config", file)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines() == [
        f'{file}:5: accounts.work.pasword: unknown key (did you mean "password"?)',
        f'{file}:8: devices.laptop.setle: unknown key (did you mean "settle"?)',
    ]


def test_variables_are_checked_too(tmp_path: Path) -> None:
    """What will run is what is checked: the file with its overrides."""
    file = written(tmp_path, GOOD)

    ended = syncd("check-config", SYNCD_CONFIG=file, SYNCD_DEVICES__LAPTOP__SETTLE="soon")

    assert ended.returncode == 2
    assert ended.stderr.startswith("environment variable SYNCD_DEVICES__LAPTOP__SETTLE: devices.laptop.settle: ")


def test_warning_does_not_change_the_exit_code(tmp_path: Path) -> None:
    """A warning is shown beside the summary."""
    file = written(tmp_path, GOOD)
    Path(file).chmod(0o644)

    ended = syncd("check-config", "--config", file, SYNCD_PORT="tcp://10.0.0.1:1")

    assert ended.returncode == 0
    assert [line.split(": ")[0] for line in ended.stderr.splitlines()] == ["warning", "warning"]
    assert "tr0ub4dor" not in ended.stderr + ended.stdout


def test_warning_of_what_is_not_there_has_its_line(tmp_path: Path) -> None:
    """As a problem has: that of the key, or the variable that it is from."""
    file = written(tmp_path, GOOD.replace('password = "tr0ub4dor"', 'password_file = "gone"'))

    ended = syncd("check-config", "--config", file, SYNCD_HOOKS__ON_HOLD='["nosuchprogram"]')

    assert ended.returncode == 0
    assert ended.stderr.splitlines() == [
        "warning: environment variable SYNCD_HOOKS__ON_HOLD: hooks.on_hold: there is no program nosuchprogram, or it"
        " may not be run",
        f"warning: {file}:5: accounts.work.password_file: there is no file {tmp_path}/gone, or it may not be read",
    ]


def test_what_a_provider_takes_as_a_password_is_said_with_its_line(tmp_path: Path) -> None:
    """An app password is worth a note, a password that is of no use a warning; both are sound configurations."""
    provided = GOOD.replace('host = "imap.example.org"', 'provider = "gmail"')
    isp = '[accounts.isp]\ntype = "pop3"\nprovider = "outlook"\nusername = "ana"\npassword = "x"\n'
    file = written(tmp_path, provided + isp)

    ended = syncd("check-config", "--config", file)

    assert (ended.returncode, ended.stdout) == (0, f"{file}: 2 accounts, 1 device\n")
    assert ended.stderr.splitlines() == [
        f"note: {file}:3: accounts.work.provider: Gmail takes an app password, which needs two factors, and not the"
        " password of the account",
        f"warning: {file}:10: accounts.isp.provider: Outlook takes no passwords any more, only tokens of OAuth",
    ]


def test_shipped_example_is_good() -> None:
    """What people copy passes the check they are told to run; the programs that it names are not on every machine."""
    ended = syncd("check-config", "--config", str(EXAMPLE))

    assert ended.returncode == 0
    assert all("there is no program" in line for line in ended.stderr.splitlines())


@pytest.mark.parametrize("arguments", [("check-config", "--config", "/nonexistent/syncd.toml"), ("chek-config",)])
def test_wrong_usage_is_exit_code_two_without_a_traceback(arguments: tuple[str, ...]) -> None:
    """A file that is not there and a command that does not exist are told like any other slip."""
    ended = syncd(*arguments)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("check-config", "--help"), ()])
def test_help_needs_no_configuration_and_no_heavy_library(arguments: tuple[str, ...]) -> None:
    """Asking how to use syncd is quick, on a machine where nothing is set up."""
    code = "import sys, syncd.__main__\ntry: syncd.__main__.main()\nexcept SystemExit: print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=Path(__file__).parents[2],
        env={},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "syncd" in ended.stdout + ended.stderr
    loaded = set(ended.stdout.split())
    assert loaded & {"pydantic_settings", "sqlalchemy", "aiohttp", "aioimaplib", "rich", "alembic"} == set()


def test_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    """`syncd … | head -0` ends quietly."""
    process = subprocess.Popen(
        [sys.executable, "-m", "syncd", "check-config", "--config", written(tmp_path, GOOD)],
        cwd=Path(__file__).parents[2],
        env={},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()

    complaint = process.stderr.read()
    process.stderr.close()

    assert process.wait(timeout=60) == 1
    assert complaint == b""


def test_sync_needs_the_passwords_of_the_accounts_it_syncs_only(tmp_path: Path) -> None:
    """One that only the service is given keeps nobody from the others."""
    known = GOOD.replace("imap.example.org", "localhost").replace("username", "port = 1\nusername")
    other = '[accounts.isp]\ntype = "pop3"\nhost = "pop.example.org"\nusername = "ana"\n'
    store = f'[store]\nurl = "sqlite:///{tmp_path}/syncd.db"\n[daemon]\nsocket = "{tmp_path}/socket"\n'
    file = written(tmp_path, known + other + store)

    there = syncd("sync", "work", "--config", file)
    lacking = syncd("sync", "isp", "--config", file)

    assert (there.returncode, there.stderr.split(":")[0]) == (1, "account work")
    assert (lacking.returncode, "accounts.isp: one of password" in lacking.stderr) == (2, True)


def test_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A disk that is full under a report is no fault of ours, and no success."""
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "syncd", "check-config", "--config", written(tmp_path, GOOD)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )

    assert (ended.returncode, ended.stderr) == (
        1,
        "syncd: standard output cannot be written: no space left on device\n",
    )


def test_complaint_that_cannot_be_written_changes_no_exit_code(tmp_path: Path) -> None:
    """What was asked for is done all the same, and a script hears how it went."""
    doubted = written(tmp_path, GOOD + '[hooks]\non_hold = ["no-such-program-at-all"]\n')

    with Path("/dev/full").open("w") as full:
        told = subprocess.run([*SYNCD, "check-config", "--config", doubted], stdout=subprocess.PIPE, stderr=full)
        wrong = subprocess.run([*SYNCD, "check-config", "--config", "/nonexistent"], stderr=full)
        unread = subprocess.Popen([*SYNCD, "check-config", "--config", "/nonexistent"], stderr=subprocess.PIPE)
        assert unread.stderr is not None
        unread.stderr.close()

    assert (told.returncode, told.stdout.endswith(b": 1 account, 1 device\n")) == (0, True)
    assert wrong.returncode == 2
    assert unread.wait(timeout=60) == 2


def test_output_that_is_not_utf_8_shows_what_it_lacks_as_escapes() -> None:
    """Mailboxes have names in any script, and who asks may have another."""
    ended = syncd("doctor", "--config", "/nonexistent/mü.toml", PYTHONIOENCODING="ascii", PYTHONUTF8="1")

    assert (ended.returncode, ended.stderr) == (2, "")
    assert "/nonexistent/m\\xfc.toml" in ended.stdout


def test_probe_logs_in_at_each_account(dovecot: Dovecot, mail_user: str, make_daemon: Callable[..., Daemon]) -> None:
    """Who can be logged in at is told with what the server offers, who cannot with what to do; one is enough for 1."""
    good = imap_account(dovecot, mail_user)
    ended = make_daemon({"work": good}).syncd("check-config", "--probe")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "logged in; the server has QRESYNC" in ended.stdout

    both = make_daemon({"work": good, "isp": {**pop3_account(dovecot, mail_user), "password": "not-the-one"}})
    ended = both.syncd("check-config", "--probe")
    assert ended.returncode == 1
    assert "logged in; the server has QRESYNC" in ended.stdout
    assert "correct username or password of accounts.isp" in ended.stdout
    assert "not-the-one" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("command", [("check-config", "--probe"), ("doctor",)])
def test_who_does_not_wait_for_a_silent_server_sees_no_fault_of_ours(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Ctrl-C ends it at once, whatever the server does not say, and nothing is logged about what was given up."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        port = silent.getsockname()[1]
        text = GOOD.replace('"imap.example.org"', f'"127.0.0.1"\nport = {port}\ntls = "none"')
        process = subprocess.Popen(
            [sys.executable, "-m", "syncd", *command, "--config", written(tmp_path, text)],
            cwd=Path(__file__).parents[2],
            env={"HOME": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with silent.accept()[0]:
            process.send_signal(signal.SIGINT)
            _, complaint = process.communicate(timeout=15)

    assert process.returncode != 0
    assert complaint.strip() in ("", "Aborted.")
