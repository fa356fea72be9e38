"""Floor 6: one request to the daemon and its answer: HTTP on a connected socket."""

import http.client
import json
import socket
from collections.abc import Iterator

from syncd.errors import SyncdError


def exchange(channel: socket.socket, method: str, target: str, body: bytes | None) -> bytes:
    """Return the answer and close the socket.

    SyncdError with what the daemon says went wrong, OSError if there is no whole answer.
    """
    connection = http.client.HTTPConnection("localhost")
    connection.sock = channel
    try:
        connection.request(method, target, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
    except http.client.HTTPException as error:
        raise ConnectionError("the answer is not HTTP, or not all of it") from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise SyncdError(_reason(answer))
    return answer


def lines(channel: socket.socket, target: str) -> Iterator[bytes]:
    """Yield the lines of an answer as they come.

    SyncdError with what the daemon says went wrong, OSError if it ends in the middle.
    """
    connection = http.client.HTTPConnection("localhost")
    connection.sock = channel
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise SyncdError(_reason(response.read()))
        yield from response
    except http.client.HTTPException as error:
        raise ConnectionError("the answer is not HTTP, or not all of it") from error
    finally:
        connection.close()


def _reason(answer: bytes) -> str:
    try:
        said = json.loads(answer)["error"]
    except (ValueError, KeyError, TypeError):
        said = None
    return said if isinstance(said, str) else "the daemon answers what is not understood"
