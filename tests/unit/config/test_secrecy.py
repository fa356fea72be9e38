"""Nothing secret leaves the configuration by a report, an exception or a repr."""

import traceback
from pathlib import Path

import pytest

from syncd.config.accounts import ImapConfig, OAuthConfig, Pop3Config
from syncd.config.load import read
from syncd.config.model import DeviceConfig, StoreConfig
from syncd.config.problems import ConfigError
from syncd.config.table import keys_of
from tests.unit.config.builders import IMAP, reading

CANARY = "tr0ub4dor"


def told(directory: Path, text: str, environ: dict[str, str] | None = None) -> str:
    """Return everything that a failing load shows: report, repr and traceback with all causes."""
    with pytest.raises(ConfigError) as caught:
        reading(directory, text, environ)
    return f"{caught.value}{caught.value!r}{''.join(traceback.format_exception(caught.value))}"


@pytest.mark.parametrize("type_", ["imap", "pop3", "nntp"])
@pytest.mark.parametrize("shape", ['"{}"', '["{}"]', '{{ "x" = "{}" }}', '[["{}"]]'])
@pytest.mark.parametrize("key", sorted({*keys_of(ImapConfig), *keys_of(Pop3Config)} - {"type"}))
def test_wrong_value_of_any_key_is_not_shown(tmp_path: Path, key: str, shape: str, type_: str) -> None:
    """A secret that slipped into the wrong key, or into the wrong shape, stays unseen."""
    text = f'[accounts.work]\ntype = "{type_}"\n{key} = {shape.format(CANARY)}\nprot = 1\n'

    assert CANARY not in told(tmp_path, text)


@pytest.mark.parametrize("key", ["pasword", "passwd", "secret", "Password", "password "])
def test_value_of_a_misspelt_key_is_not_shown(tmp_path: Path, key: str) -> None:
    """A misspelt key is exactly where a secret would slip out."""
    assert CANARY not in told(tmp_path, IMAP + f'"{key}" = "{CANARY}"')
    assert CANARY not in told(tmp_path, IMAP, {f"SYNCD_ACCOUNTS__WORK__{key.upper()}_": CANARY})


@pytest.mark.parametrize(
    "line",
    [
        f"password = {CANARY}",
        f'password = "{CANARY}',
        f'password = "x" {CANARY}"',
        f'password = "x"{CANARY}"',
        f"password = '{CANARY}''",
        f'password "{CANARY}"',
        f'password = ["{CANARY}"',
        f"password = {{ {CANARY} = 1, {CANARY} = 2 }}",
        f'password = "\\{CANARY}"',
        f'password = """{CANARY}',
        f"x = 1\n[{CANARY}]\n[{CANARY}]",
    ],
)
def test_line_that_is_not_toml_is_not_shown(tmp_path: Path, line: str) -> None:
    """A syntax error in the line of a password does not quote the line."""
    assert CANARY not in told(tmp_path, f"[accounts.work]\n{line}\n")


@pytest.mark.parametrize(
    "url",
    [
        f"postgres://u:{CANARY}@h/d",
        f"postgresql://u:{CANARY}@h",
        f"postgresql://u:{CANARY}@h\\u2100/d",
        f"sqlite://{CANARY}",
        f"{CANARY}",
    ],
)
def test_password_in_a_wrong_url_is_not_shown(tmp_path: Path, url: str) -> None:
    """The address of a PostgreSQL store is a secret as a whole."""
    assert CANARY not in told(tmp_path, f'[store]\nurl = "{url}"')


def test_file_in_another_encoding_is_not_shown(tmp_path: Path) -> None:
    """A file that cannot be decoded is not quoted by the error that says so."""
    file = tmp_path / "syncd.toml"
    file.write_bytes(f'password = "{CANARY}\xe9"'.encode("latin-1"))

    with pytest.raises(ConfigError) as caught:
        read(file, environ={}, needs_logins=True)

    assert caught.value.__cause__ is None
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_good_configuration_does_not_show_its_secrets(tmp_path: Path) -> None:
    """The repr, str and JSON of a configuration are safe to log; users' names count as addresses."""
    text = IMAP.replace("correct horse", CANARY).replace("ana", f"ana-{CANARY}")
    config = reading(tmp_path, f'{text}[store]\nurl = "postgresql://u:{CANARY}@h/d"').config

    assert CANARY not in f"{config!r}{config}{config.accounts!r}{config.store!s}"


def test_secret_types_cover_every_key_that_holds_a_secret() -> None:
    """A key added later with a name like a secret's has to be a secret type, or be named here."""
    tables = (ImapConfig, Pop3Config, OAuthConfig, StoreConfig, DeviceConfig)
    suspicious = {
        key
        for table in tables
        for key, field in table.model_fields.items()
        if any(word in key for word in ("pass", "secret", "token", "key", "url"))
        and "Secret" not in str(field.annotation)
    }

    of_secrets = {"password_file", "password_command", "token_command", "key_file"}
    assert of_secrets | {"authorization_url", "device_url", "token_url"} == suspicious
