"""Where the daemon answers, whatever is wrong in its configuration."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from syncd.config import places
from syncd.config.problems import ConfigError
from syncd.config.reachable import socket_of

NOBODY = 65534
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


@pytest.mark.parametrize("name", ["nothing", ""], ids=["no file", "a directory"])
@pytest.mark.parametrize("by_variable", [False, True])
def test_named_file_that_cannot_be_read_is_an_error(tmp_path: Path, name: str, by_variable: bool) -> None:
    """Else the daemon of another configuration would answer for it, and a health check call all well."""
    file = tmp_path / name
    given = environ(tmp_path) | ({"SYNCD_CONFIG": str(file)} if by_variable else {})

    with pytest.raises(ConfigError, match="cannot be read"):
        socket_of(None if by_variable else file, environ=given)


def test_without_any_file_the_default_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon may run whose file is gone from the usual place."""
    monkeypatch.setattr(places, "SYSTEM_FILE", tmp_path / "etc" / "syncd.toml")

    assert socket_of(environ=environ(tmp_path)) == tmp_path / "run" / "syncd.sock"


def test_variable_is_stronger_and_relative_paths_begin_at_the_file(tmp_path: Path) -> None:
    """The same order as for all keys."""
    assert socket_in(tmp_path, SOCKET, SYNCD_DAEMON__SOCKET="other.sock") == tmp_path / "other.sock"


def test_socket_that_is_no_path_is_not_known(tmp_path: Path) -> None:
    """Then the problems of the file are all that can be told."""
    assert socket_in(tmp_path, "[daemon]\nsocket = 7\n") is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize(
    "mode", [0o750, 0o755], ids=["directory that may not be searched", "file that may not be read"]
)
@pytest.mark.parametrize("has_own", [True, False])
def test_file_of_the_system_that_is_not_for_us_does_not_keep_us_from_our_own(mode: int, has_own: bool) -> None:
    """`syncd status` of an ordinary user asks his own daemon; the same file is chosen as by `syncd run`."""
    program = (
        "import importlib.metadata\n"  # which pydantic loads once it validates, from where only root may read
        "import os, sys; from pathlib import Path; from syncd.config import places, reachable\n"
        "places.SYSTEM_FILE = Path(sys.argv[1], 'etc', 'syncd.toml')\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "print(reachable.socket_of(environ={'HOME': sys.argv[1]}))\n"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        Path(home).chmod(0o755)
        system, own = Path(home, "etc", "syncd.toml"), Path(home, ".config", "syncd", "syncd.toml")
        for file, socket in ((system, "/run/system.sock"), *([(own, "/run/own.sock")] if has_own else ())):
            file.parent.mkdir(parents=True)
            file.write_text(f'[daemon]\nsocket = "{socket}"\n')
        system.chmod(0o640)
        system.parent.chmod(mode)

        said = subprocess.run([sys.executable, "-c", program, home], capture_output=True, text=True, timeout=60)

        found = "/run/own.sock" if has_own else f"{home}/.local/state/syncd/syncd.sock"
        assert (said.stdout, said.stderr) == (f"{found}\n", "")


def socket_in(directory: Path, text: str, **variables: str) -> Path | None:
    file = directory / "syncd.toml"
    file.write_text(text)
    return socket_of(file, environ=environ(directory) | variables, secrets_directory=directory / "secrets")


def environ(directory: Path) -> dict[str, str]:
    return {"HOME": str(directory), "RUNTIME_DIRECTORY": str(directory / "run")}
