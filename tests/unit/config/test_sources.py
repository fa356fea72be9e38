"""Variables and credentials that override the file."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from syncd import trace
from tests.unit.config.builders import IMAP, LAPTOP, POP3, problems, reading


def credential(directory: Path, name: str, text: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(text)


def password(directory: Path, environ: dict[str, str] | None = None, text: str = IMAP) -> str:
    secret = reading(directory, text, environ).config.accounts["work"].password
    assert isinstance(secret, SecretStr)
    return secret.get_secret_value()


def test_variables_override_credentials_and_both_the_file(tmp_path: Path) -> None:
    """The nearer to the process, the stronger."""
    name = "syncd_accounts__work__password"
    assert password(tmp_path) == "correct horse"

    credential(tmp_path / "secrets", name, "from the container\n")
    assert password(tmp_path) == "from the container"

    credential(tmp_path / "systemd", name.upper(), "from systemd\r\n")
    systemd = {"CREDENTIALS_DIRECTORY": str(tmp_path / "systemd")}
    assert password(tmp_path, systemd) == "from systemd"

    assert password(tmp_path, {**systemd, name.upper(): "from the shell"}) == "from the shell"


@pytest.mark.parametrize("text", ["12345", "null", "true", '["a"]', '{"a": 1}', '"quoted"', " spaces "])
def test_password_in_a_variable_is_taken_literally(tmp_path: Path, text: str) -> None:
    """A password that looks like JSON is still that password."""
    assert text == password(tmp_path, {"SYNCD_ACCOUNTS__WORK__PASSWORD": text})


def test_other_types_are_read_from_variables(tmp_path: Path) -> None:
    """Numbers, switches, durations as in the file; lists and whole tables as JSON."""
    config = reading(
        tmp_path,
        IMAP + POP3.replace('password = "battery staple"', "") + LAPTOP,
        {
            "SYNCD_ACCOUNTS__WORK__PORT": "1993",
            "SYNCD_ACCOUNTS__WORK__MAILBOXES": '["INBOX", "!!odd"]',
            "SYNCD_ACCOUNTS__ISP__PASSWORD_COMMAND": '["pass", "isp"]',
            "SYNCD_DEVICES__LAPTOP__LINK": "false",
            "SYNCD_DEVICES__LAPTOP__MAX_AGE": "90m",
            "SYNCD_DEVICES__LAPTOP__READ_ONLY": "false",
            "SYNCD_DEVICES__PHONE": '{"path": "phone"}',
            "SYNCD_GUARD": '{"count": 3}',
            "SYNCD_GUARD__SHARE": "0.5",
        },
    ).config

    assert (config.accounts["work"].port, config.accounts["work"].mailboxes) == (1993, ("INBOX", "!!odd"))
    assert (config.devices["laptop"].link, config.devices["laptop"].max_age_s) == (False, 5400.0)
    assert tmp_path / "phone" == config.devices["phone"].path
    assert (config.guard.count, config.guard.share) == (3, 0.5)


def test_whole_account_can_come_from_variables(tmp_path: Path) -> None:
    """A container needs no file with accounts in it."""
    keys = {"TYPE": "imap", "HOST": "imap.example.org", "USERNAME": "12", "PASSWORD": "x"}
    config = reading(tmp_path, "", {f"SYNCD_ACCOUNTS__WORK__{key}": value for key, value in keys.items()}).config

    assert (config.accounts["work"].host, config.accounts["work"].username) == ("imap.example.org", "12")


@pytest.mark.parametrize(
    ("name", "value", "report"),
    [
        ("SYNCD_GAURD__COUNT", "3", 'gaurd.count: unknown key (did you mean "guard"?)'),
        ("SYNCD_GUARD__CUONT", "3", 'guard.cuont: unknown key (did you mean "count"?)'),
        ("SYNCD_GUARD__COUNT", "many", "guard.count: should be a valid integer"),
        ("SYNCD_GUARD", "many", "guard: should be a table"),
        ("SYNCD_GUARD", "{many", "guard: should be a table"),
        ("SYNCD_GUARD", '{"cuont": 3}', 'guard.cuont: unknown key (did you mean "count"?)'),
        ("SYNCD_ACCOUNTS__WORK__PASWORD", "x", 'accounts.work.pasword: unknown key (did you mean "password"?)'),
        (
            "SYNCD_ACCOUNTS__WORK__PIN_SHA256",
            "5f1d",
            "accounts.work.pin_sha256: should be a SHA-256 fingerprint",
        ),
        ("SYNCD_ACCOUNTS__WROK__PASSWORD", "x", 'accounts.wrok.type: missing: "imap" or "pop3"'),
    ],
)
def test_problem_of_a_variable_names_the_variable(tmp_path: Path, name: str, value: str, report: str) -> None:
    """A value that is not in the file is not blamed on a line of the file."""
    (line,) = problems(tmp_path, IMAP + "[guard]\nwindow = '1m'\n", {name: value})

    assert line.startswith(f"environment variable {name}: {report}")


def test_problem_of_a_credential_names_its_file(tmp_path: Path) -> None:
    """A credential that is wrong or cannot be read is found by its path."""
    credential(tmp_path / "secrets", "syncd_accounts__work__pasword", "x")
    (tmp_path / "secrets" / "syncd_guard__count").write_bytes(b"\xff")

    assert sorted(problems(tmp_path, IMAP)) == [
        "credential secrets/syncd_accounts__work__pasword: accounts.work.pasword: "
        'unknown key (did you mean "password"?)',
        "credential secrets/syncd_guard__count: cannot be read (UnicodeDecodeError)",
    ]


def test_variables_of_others_are_not_ours(tmp_path: Path) -> None:
    """What Kubernetes sets for a service called syncd is a warning; other names and files are nothing at all."""
    credential(tmp_path / "secrets", "isp", "x")
    environ = {"SYNCD_PORT": "tcp://10.0.0.1:9464", "SYNCD_CONFIG": "/elsewhere", "SYNCDX": "1", "PATH": "/bin"}
    environ[trace.VARIABLE] = "work"

    (warning,) = reading(tmp_path, IMAP, environ).warnings

    assert str(warning) == "environment variable SYNCD_PORT: port: unknown key"
