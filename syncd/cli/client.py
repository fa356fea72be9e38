"""Floor 6: the daemon as the commands reach it: requests on its unix socket, without any heavy library."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from syncd.errors import SyncdError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

_CONNECT_S = 10.0


class DaemonDownError(SyncdError):
    """Nobody answers on the socket."""


class DaemonGoneError(SyncdError):
    """The daemon went away before it answered: whether it did what was asked is not known."""


class Client:
    """Ask the daemon that listens on a socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, target: str, *, timeout_s: float = 60.0) -> bytes:
        """Return the answer; DaemonDownError if no daemon runs, SyncdError with what it says went wrong."""
        return self._ask("GET", target, None, timeout_s=timeout_s)

    def get_if_running(self, target: str, *, timeout_s: float = 60.0) -> bytes | None:
        """Do what `get` does, and return None if no daemon runs."""
        try:
            return self.get(target, timeout_s=timeout_s)
        except DaemonDownError:
            return None

    def is_running(self) -> bool:
        """Tell whether a daemon runs; SyncdError if it is not well."""
        return self.get_if_running("/health") is not None

    def post(self, target: str, body: bytes) -> bytes:
        """Do what `get` does, for a request that may take as long as it takes."""
        return self._ask("POST", target, body, timeout_s=None)

    def follow(self, target: str) -> Iterator[bytes]:
        """Yield the lines of an answer as they come, until the daemon ends it; DaemonDownError if no daemon runs."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
                _connect(channel, self._path)
                channel.settimeout(None)

                from syncd.cli.exchange import lines

                yield from lines(channel, target)
        except OSError as error:
            raise SyncdError("the daemon went away") from error

    def _ask(self, method: str, target: str, body: bytes | None, *, timeout_s: float | None) -> bytes:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
                _connect(channel, self._path)
                channel.settimeout(timeout_s)

                from syncd.cli.exchange import exchange  # not before a daemon is there to be asked

                return exchange(channel, method, target, body)
        except TimeoutError as error:
            raise SyncdError("the daemon does not answer") from error
        except OSError as error:
            raise DaemonGoneError("the daemon went away before it answered") from error


def decoded(adapter: "TypeAdapter[T]", answer: bytes) -> T:
    """Return what a daemon answered; SyncdError if it is of a version that answers otherwise."""
    from pydantic import ValidationError

    try:
        return adapter.validate_json(answer)
    except ValidationError as error:
        raise SyncdError("the daemon is of another version: restart it") from error


def _connect(channel: socket.socket, path: Path) -> None:
    channel.settimeout(_CONNECT_S)
    try:
        channel.connect(str(path))
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        raise DaemonDownError("the daemon is not running") from error
    except BlockingIOError as error:  # it has not taken those who came before
        raise SyncdError("the daemon does not answer") from error
    except PermissionError as error:
        from syncd.users import of_another

        raise SyncdError(f"the socket {path} is another user's, and only that one may ask{of_another(path)}") from error
    except OSError as error:
        if error.errno is None:  # NOTE: so Python says that no socket can have so long a path
            raise DaemonDownError("the daemon is not running") from error
        raise
