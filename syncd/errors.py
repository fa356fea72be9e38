"""Floor 1: the errors of syncd, each saying how far it reaches and whether waiting helps."""

import errno
import os
import re
import socket
from enum import StrEnum

NO_USE_TO_WAIT = "; waiting does not help"
"""The end of a text about an error that only a person can end."""
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_ERRNO = re.compile(r"\[Errno (\d+)\]")


class Reach(StrEnum):
    """How much stands still because of an error; everything outside it goes on."""

    MESSAGE = "message"
    MAILBOX = "mailbox"
    DEVICE = "device"
    ACCOUNT = "account"
    STORE = "store"


class Temper(StrEnum):
    """What helps against an error: trying again now, waiting, or a person."""

    RETRY = "retry"
    WAIT = "wait"
    GIVE_UP = "give_up"


class Cause(StrEnum):
    """What kind of thing went wrong, as far as it decides what a person can do about it."""

    LOGIN_REFUSED = "login_refused"
    NO_PASSWORD = "no_password"  # noqa: S105 - the name of a cause
    NO_ACCESS = "no_access"
    UNTRUSTED = "untrusted"
    UNREACHABLE = "unreachable"
    TOO_SLOW = "too_slow"
    CONNECTION_LOST = "connection_lost"
    NOT_UNDERSTOOD = "not_understood"
    REFUSED = "refused"
    AWAY = "away"
    DISK_FULL = "disk_full"
    FILES = "files"
    MAILBOX_LOST = "mailbox_lost"
    OTHER = "other"
    UNEXPECTED = "unexpected"


class SyncdError(Exception):
    """Stand for anything that went wrong in a way syncd understands.

    The text is lower case, without a full stop, and free of secrets, subjects and addresses: it goes to
    logs and to `syncd status` as it is. A single error may reach
    further or less far than its class does.
    """

    reach: Reach = Reach.ACCOUNT
    temper: Temper = Temper.WAIT

    def __init__(self, text: str, *, reach: Reach | None = None, temper: Temper | None = None) -> None:
        super().__init__(text)
        if reach is not None:
            self.reach = reach
        if temper is not None:
            self.temper = temper


class ConnectionLostError(SyncdError, ConnectionError):
    """The peer went away, or we left because it could not be understood any more."""


class UnreachableError(SyncdError, ConnectionError):
    """No connection could be made: name, route, port, or TLS handshake."""


class TrustError(SyncdError, ConnectionError):
    """The encryption, or the proof, that the configuration asks for could not be had; no password was sent."""

    temper = Temper.GIVE_UP


class PinError(TrustError):
    """The server showed another certificate than the only one that is to be trusted."""


class OwnCertificateError(TrustError):
    """The server ended it for the certificate that it was shown, or because it was shown none."""


class TooSlowError(SyncdError, TimeoutError):
    """A deadline passed; the connection it happened on is never used again."""


class ProtocolError(SyncdError, ValueError):
    """The peer said something its protocol does not allow, or more than our limits allow."""


class RefusedError(SyncdError):
    """The server answered NO, BAD or -ERR to a command; the connection is still good."""

    def __init__(
        self,
        text: str,
        *,
        code: str = "",
        reach: Reach | None = None,
        temper: Temper | None = None,
    ) -> None:
        super().__init__(text, reach=reach, temper=temper)
        self.code = code
        """Response code in upper case (RFC 3501 §7.1, RFC 5530, RFC 3206), empty when there was none."""


class LoginRefusedError(RefusedError):
    """The server does not accept these credentials; asking again soon may lock the account."""

    temper = Temper.GIVE_UP


class SecretError(SyncdError):
    """A password, token or certificate could not be had from where the configuration says; nothing of it was sent."""


class NoAccessError(SecretError):
    """Nobody has logged in at the provider of tokens, or not in a way that is of use any more; a person has to."""

    temper = Temper.GIVE_UP


class DeviceAwayError(SyncdError, OSError):
    """The replica root is not (or not provably) the one we know: draw no conclusions from it."""

    reach = Reach.DEVICE


class FileError(SyncdError, OSError):
    """A file operation in a replica failed for a reason of the machine: space, rights, I/O."""

    reach = Reach.DEVICE


class MailboxLostError(FileError):
    """The directory of a mailbox is not there, or not whole, and nobody but a person brings it back."""

    reach = Reach.MAILBOX


class MailboxNameError(SyncdError, ValueError):
    """A mailbox name cannot be represented on the other side."""

    reach = Reach.MAILBOX
    temper = Temper.GIVE_UP


class StoreError(SyncdError):
    """The store cannot be used as it is."""

    reach = Reach.STORE


class StoreBusyError(StoreError):
    """Another syncd owns this store."""


class StoreVersionError(StoreError):
    """The store's schema is newer than this syncd, or older and may not be upgraded now."""

    temper = Temper.GIVE_UP


def text_of(error: BaseException) -> str:
    """Return what people are told about an error; the texts of others than ours may hold anything."""
    if not isinstance(error, SyncdError):
        return f"unexpected error: {type(error).__name__}"
    return f"{error}{NO_USE_TO_WAIT}" if error.temper is Temper.GIVE_UP else str(error)


def cause_of(error: BaseException) -> Cause:
    """Return what kind of thing an error is."""
    if isinstance(error, FileError) and _NO_SPACE & {getattr(one, "errno", None) for one in (error, error.__cause__)}:
        return Cause.DISK_FULL
    return next((cause for kind, cause in _CAUSES if isinstance(error, kind)), Cause.UNEXPECTED)


def why_unreachable(error: OSError) -> str:
    """Return in words why no connection could be made, without any name or address."""
    if isinstance(error, socket.gaierror):
        return "its name cannot be looked up"
    # NOTE: where a name has several addresses asyncio joins their errors to one without a number.
    numbers = [error.errno] if error.errno else [int(number) for number in _ERRNO.findall(str(error))]
    return os.strerror(numbers[-1]).lower() if numbers and numbers[-1] > 0 else "no route to it"


def no_room(error: BaseException) -> str:
    """Return what is told where a large message finds no room on its way into the store."""
    reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
    return f"the disk of the store cannot take a large message: {reason.lower()}"


_CAUSES: tuple[tuple[type[BaseException], Cause], ...] = (
    (LoginRefusedError, Cause.LOGIN_REFUSED),
    (NoAccessError, Cause.NO_ACCESS),
    (SecretError, Cause.NO_PASSWORD),
    (TrustError, Cause.UNTRUSTED),
    (UnreachableError, Cause.UNREACHABLE),
    (TooSlowError, Cause.TOO_SLOW),
    (ConnectionLostError, Cause.CONNECTION_LOST),
    (ProtocolError, Cause.NOT_UNDERSTOOD),
    (RefusedError, Cause.REFUSED),
    (DeviceAwayError, Cause.AWAY),
    (MailboxLostError, Cause.MAILBOX_LOST),
    (FileError, Cause.FILES),
    (SyncdError, Cause.OTHER),
)
"""The narrowest first."""
