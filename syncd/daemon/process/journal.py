"""Floor 5: the journal of systemd, told in its own protocol, so that `journalctl SYNCD_ACCOUNT=work` finds things.

https://systemd.io/JOURNAL_NATIVE_PROTOCOL: a record is a datagram of fields; one that is too large for that is a sealed
file in memory, whose descriptor is sent instead. As for every service, one that does not read holds us up.
"""

import errno
import fcntl
import json
import os
import re
import socket
import struct
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, TextIO

SOCKET = Path("/run/systemd/journal/socket")
_PRIORITIES = {"debug": "7", "info": "6", "warning": "4", "error": "3", "critical": "2"}
_CODE = {"pathname": "CODE_FILE", "lineno": "CODE_LINE", "func_name": "CODE_FUNC"}
_PREFIX = "SYNCD_"
_NAME_MAX_CHARS = 64
_BARE_VALUE = re.compile(r"[^\s\"'=\\]+")
_TOO_LARGE = (errno.EMSGSIZE, errno.ENOBUFS)
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

Fields = tuple[tuple[str, str], ...]


def is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Tell whether a stream is the one that systemd has connected to its journal (systemd.exec(5), $JOURNAL_STREAM)."""
    try:
        at = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{at.st_dev}:{at.st_ino}"


def fields_of(event: MutableMapping[str, Any]) -> Fields:
    """Return a record of structlog as the fields of the journal: what a person reads, and each key by itself."""
    name = str(event.pop("event", ""))
    level, trace = str(event.pop("level", "")), event.pop("exception", None)
    code = [(field, str(event.pop(key))) for key, field in _CODE.items() if key in event]
    values = {key: value if isinstance(value, str) else json.dumps(value, default=str) for key, value in event.items()}
    message = " ".join((name, *(f"{key}={_shown(value)}" for key, value in values.items())))
    return (
        ("MESSAGE", message if trace is None else f"{message}\n{trace}"),
        ("PRIORITY", _PRIORITIES.get(level, "6")),
        ("SYSLOG_IDENTIFIER", "syncd"),
        (f"{_PREFIX}EVENT", name),
        *((_field_name(key), value) for key, value in values.items()),
        *code,
    )


def encoded(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return a record as it is sent: values of more than one line with their length, the others as lines."""
    record = bytearray()
    for name, text in fields:
        value = text.encode(errors="backslashreplace")
        if b"\n" in value:
            record += name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
        else:
            record += name.encode() + b"=" + value + b"\n"
    return bytes(record)


class Journal:
    """Send records, as the logger under structlog; one that cannot be sent is written to `otherwise`, as JSON."""

    def __init__(self, path: Path, otherwise: TextIO) -> None:
        self._address = str(path)
        self._otherwise = otherwise
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def __del__(self) -> None:
        self._socket.close()

    def msg(self, fields: Fields) -> None:
        record = encoded(fields)
        try:
            self._send(record)
        except OSError:
            self._otherwise.write(json.dumps(dict(fields)) + "\n")
            self._otherwise.flush()

    log = debug = info = warning = error = critical = exception = msg

    def _send(self, record: bytes) -> None:
        try:
            self._socket.sendto(record, self._address)
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            self._send_file(record)

    def _send_file(self, record: bytes) -> None:
        made = os.memfd_create("syncd-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with os.fdopen(made, "wb", buffering=0) as file:
            left = memoryview(record)
            while left:
                left = left[file.write(left) :]
            fcntl.fcntl(file.fileno(), fcntl.F_ADD_SEALS, _SEALS)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", file.fileno()))
            self._socket.sendmsg([], [rights], 0, self._address)


def _field_name(key: str) -> str:
    return (_PREFIX + re.sub(r"[^A-Z0-9_]", "_", key.upper()))[:_NAME_MAX_CHARS]


def _shown(value: str) -> str:
    return value if _BARE_VALUE.fullmatch(value) else json.dumps(value, ensure_ascii=False)
