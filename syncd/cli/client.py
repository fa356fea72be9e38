"""The daemon as the commands reach it: HTTP on its unix socket, without any heavy library."""

import http.client
import json
import socket
from pathlib import Path

from syncd.errors import SyncdError

_CONNECT_S = 10.0


class DaemonDownError(SyncdError):
    """Nobody answers on the socket."""


class Client:
    """Ask the daemon that listens on a socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, target: str, *, timeout_s: float = 60.0) -> bytes:
        """Return the answer; DaemonDownError if no daemon runs, SyncdError with what it says went wrong."""
        return self._ask("GET", target, None, timeout_s=timeout_s)

    def get_if_running(self, target: str) -> bytes | None:
        """Do what `get` does, and return None if no daemon runs."""
        try:
            return self.get(target)
        except DaemonDownError:
            return None

    def post(self, target: str, body: bytes) -> bytes:
        """Do what `get` does, for a request that may take as long as it takes."""
        return self._ask("POST", target, body, timeout_s=None)

    def _ask(self, method: str, target: str, body: bytes | None, *, timeout_s: float | None) -> bytes:
        connection = _UnixConnection(self._path, timeout_s)
        try:
            connection.request(method, target, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        except TimeoutError as error:
            raise SyncdError("the daemon does not answer") from error
        except (OSError, http.client.HTTPException) as error:
            raise SyncdError("the daemon went away before it answered") from error
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise SyncdError(_reason(answer))
        return answer


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("localhost")
        self._path = path
        self._timeout_s = timeout_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_CONNECT_S)
        try:
            self.sock.connect(str(self._path))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise DaemonDownError("the daemon is not running") from error
        except PermissionError as error:
            raise SyncdError(f"the socket {self._path} belongs to another user: only the owner may ask") from error
        self.sock.settimeout(self._timeout_s)


def _reason(answer: bytes) -> str:
    try:
        said = json.loads(answer)["error"]
    except (ValueError, KeyError, TypeError):
        said = None
    return said if isinstance(said, str) else "the daemon answers what is not understood"
