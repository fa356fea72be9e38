"""Short messages that tests can tell apart by a key, and odd ones written for these tests."""

import re

_MESSAGE_ID = re.compile(rb"(?im)^message-id:[ \t]*<([^@>]+)@example\.org>")


def letter(key: str, *, lines: int = 3) -> bytes:
    """Return a message with CRLF line ends whose Message-ID says the key."""
    text = "".join(f"line {number} of {key}\r\n" for number in range(lines))
    return (
        f"From: Ana <ana@example.org>\r\nTo: Bo <bo@example.net>\r\nSubject: about {key}\r\n"
        f"Date: Mon, 02 Mar 2026 10:00:00 +0000\r\nMessage-ID: <{key}@example.org>\r\n\r\n{text}"
    ).encode()


def key_of(octets: bytes) -> str:
    """Return the key of a message that `letter` made; KeyError for another."""
    found = _MESSAGE_ID.search(octets[:8192])
    if found is None:
        raise KeyError("no letter of ours")
    return found[1].decode()


ODD = {
    "no line end": b"Subject: cut short\r\n\r\nthe last line does not end",
    "no body": b"Subject: only a header\r\n\r\n",
    "no header": b"\r\nnothing but a body\r\n",
    "header without end": b"Subject: no empty line follows\r\n",
    "from lines": b"Subject: from\r\n\r\nFrom the start\r\n>From before\r\n From within\r\n",
    "dots": b"Subject: dots\r\n\r\n.\r\n..\r\n...\r\n\r\n.\r\n",
    "long line": b"Subject: long\r\n\r\n" + b"y" * 70_000 + b"\r\n",
    "empty lines": b"Subject: empty lines\r\n\r\n" + b"\r\n" * 50,
    "eight bit": b"Subject: \xdcber \xff\xfe\r\n\r\n\x80\x81 caf\xe9\r\n",
    "tabs and blanks": b"Subject: blanks \t \r\n\tfolded \r\n\r\n  \t \r\ntrailing \r\n",
    "lone cr": b"Subject: lone cr\r\n\r\nbefore\rafter\r\n",
    "lone lf": b"Subject: lone lf\r\n\r\nbefore\nafter\r\n",
    "unix": b"Subject: unix\n\nall lines\nend so\n",
    "utf-8 header": "Subject: Grüße aus Örebro, 花\r\n\r\nтекст\r\n".encode(),
    "twin": b"Subject: twin\r\n\r\nthe same, twice\r\n",
    "other twin": b"Subject: twin\r\n\r\nthe same, twice\r\n",
}
"""Messages that servers keep and programs trip over; the twins are equal and stay two."""
