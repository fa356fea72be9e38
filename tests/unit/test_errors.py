"""What people are told about errors."""

import errno
import socket

import pytest

from syncd.errors import (
    Cause,
    DeviceAwayError,
    FileError,
    LoginRefusedError,
    SyncdError,
    UnreachableError,
    cause_of,
    no_room,
    text_of,
    why_unreachable,
)
from syncd.maildir.system.failures import failure


def test_error_that_only_a_person_can_end_says_so() -> None:
    """Others are told as they are, and foreign ones by their kind alone."""
    assert text_of(LoginRefusedError("login refused")) == "login refused; waiting does not help"
    assert text_of(UnreachableError("cannot be reached")) == "cannot be reached"
    assert text_of(KeyError("a secret")) == "unexpected error: KeyError"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ECONNREFUSED, "Connect call failed ('192.0.2.1', 993)"), "connection refused"),
        (socket.gaierror(socket.EAI_NONAME, "mail.example.org"), "its name cannot be looked up"),
        (
            OSError("Multiple exceptions: [Errno 101] Network is unreachable, [Errno 111] ('192.0.2.1', 993)"),
            "connection refused",
        ),
        (OSError(), "no route to it"),
    ],
)
def test_reason_is_told_without_name_and_address(error: OSError, said: str) -> None:
    """Also where a name has several addresses, and each failed in its own way."""
    assert why_unreachable(error) == said


def test_large_message_without_room_is_told_as_trouble_of_the_store() -> None:
    """The reason is the system's."""
    assert no_room(OSError(errno.ENOSPC, "No space left on device")).endswith(": no space left on device")
    assert no_room(ValueError()).endswith(": valueerror")


def full_store() -> FileError:
    """Return the error of a body that found no room on its way into the store."""
    error = FileError("no room")
    error.__cause__ = OSError(errno.EDQUOT, "Disk quota exceeded")
    return error


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (LoginRefusedError("no"), Cause.LOGIN_REFUSED),
        (UnreachableError("no"), Cause.UNREACHABLE),
        (DeviceAwayError("no"), Cause.AWAY),
        (failure(OSError(errno.ENOSPC, "No space left on device"), "write"), Cause.DISK_FULL),
        (full_store(), Cause.DISK_FULL),
        (failure(OSError(errno.EACCES, "Permission denied"), "write"), Cause.FILES),
        (SyncdError("no"), Cause.OTHER),
        (KeyError("a secret"), Cause.UNEXPECTED),
    ],
)
def test_cause_is_the_narrowest_that_tells_what_to_do(error: BaseException, cause: Cause) -> None:
    """A disk without room is no disk that is broken."""
    assert cause_of(error) is cause
