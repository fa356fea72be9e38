"""Where the daemon answers, whatever is wrong in its configuration."""

from pathlib import Path

import pytest

from syncd.config.reachable import socket_of

SOCKET = '[daemon]\n# where\nsocket = "/run/mine.sock" # mine\n'


@pytest.mark.parametrize(
    "text",
    [
        SOCKET,
        f'{SOCKET}log_levl = "x"\n',
        f"[accounts.work]\nport = 99999\n{SOCKET}",
        f"[accounts.work\nport = 1\n{SOCKET}",
        f"{SOCKET}[devices.laptop]\npath = \n",
    ],
)
def test_socket_is_found_in_a_file_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    """Keys that are not known, values that are wrong, and what is no TOML at all."""
    assert socket_in(tmp_path, text) == Path("/run/mine.sock")


@pytest.mark.parametrize("text", ["", "[daemon]\nsocket = \n", "[[daemon]]\n", "daemon = 1\n", '[x]\nsocket = "/y"\n['])
def test_default_is_taken_where_none_is_named(tmp_path: Path, text: str) -> None:
    """As it would be by a file that is right."""
    assert socket_in(tmp_path, text) == tmp_path / "run" / "syncd.sock"


def test_missing_file_has_the_default(tmp_path: Path) -> None:
    """A daemon may run whose file is gone."""
    assert socket_of(tmp_path / "nothing", environ=environ(tmp_path)) == tmp_path / "run" / "syncd.sock"


def test_variable_is_stronger_and_relative_paths_begin_at_the_file(tmp_path: Path) -> None:
    """The same order as for all keys."""
    assert socket_in(tmp_path, SOCKET, SYNCD_DAEMON__SOCKET="other.sock") == tmp_path / "other.sock"


def test_socket_that_is_no_path_is_not_known(tmp_path: Path) -> None:
    """Then the problems of the file are all that can be told."""
    assert socket_in(tmp_path, "[daemon]\nsocket = 7\n") is None


def socket_in(directory: Path, text: str, **variables: str) -> Path | None:
    file = directory / "syncd.toml"
    file.write_text(text)
    return socket_of(file, environ=environ(directory) | variables, secrets_directory=directory / "secrets")


def environ(directory: Path) -> dict[str, str]:
    return {"HOME": str(directory), "RUNTIME_DIRECTORY": str(directory / "run")}
