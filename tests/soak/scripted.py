"""A scripted IMAP server for a thousand accounts in one process: any user, one mailbox, a few letters, IDLE.

A real Dovecot would take a process for each connection, and the memory of the machine. It answers what a client asks
that serves an account at rest (RFC 3501, QRESYNC, LIST-STATUS, IDLE), and tells how many came at once.
"""

import argparse
import asyncio
import datetime
import json
import re
import ssl
import subprocess
import sys
import threading
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.ports import HOST

_CAPABILITIES = "IMAP4rev1 LITERAL+ ENABLE ID IDLE CONDSTORE QRESYNC LIST-EXTENDED LIST-STATUS SPECIAL-USE UIDPLUS MOVE"
_UIDVALIDITY, _MODSEQ = 7, 3
_NEWEST = datetime.datetime(2026, 3, 1, 10, 0, tzinfo=datetime.UTC)
_LITERAL = re.compile(rb"\{(\d+)\+\}\r\n$")
_SINCE = re.compile(rb"CHANGEDSINCE (\d+)")
_UIDS = re.compile(rb"UID (?:FETCH|SEARCH UID) ([\d:,*]+)", re.IGNORECASE)


@dataclass(slots=True)
class Counted:
    """Count connections now, those that have not logged in, the most of these, logins, and IDLEs begun and now."""

    connections: int = 0
    coming: int = 0
    most_coming: int = 0
    logins: int = 0
    idles: int = 0
    idling: int = 0


class Server:
    """The port of a scripted server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.port = port
        self._process = process

    def counted(self) -> Counted:
        return Counted(**json.loads(self._ask("counted")))

    def news(self, count: int) -> None:
        """Let a letter arrive in each of so many mailboxes that somebody waits for."""
        self._ask(f"news {count}")

    def _ask(self, what: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


@contextmanager
def scripted(messages: int, *, certificates: Path | None) -> Iterator[Server]:
    """Run a server whose mailboxes all have so many messages; with a directory of certificates it speaks TLS."""
    command = [sys.executable, "-m", "tests.soak.scripted", str(messages)]
    if certificates is not None:
        command += ["--certificates", str(certificates)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Server(process, int(process.stdout.readline()))
        finally:
            process.kill()


class _Connection:
    """One client's session."""

    def __init__(
        self, messages: int, arrived: dict[str, int], counted: Counted, write: Callable[[bytes], None]
    ) -> None:
        """arrived: how many more each user has."""
        self._first = messages
        self._arrived = arrived
        self._counted = counted
        self._write = write
        self._user = ""
        self.is_logged_in = False
        self.idle_tag = ""

    @property
    def _messages(self) -> int:
        return self._first + self._arrived[self._user]

    @property
    def _counts(self) -> dict[str, int]:
        modseq = _MODSEQ + self._arrived[self._user]
        return {"UIDNEXT": self._messages + 1, "UIDVALIDITY": _UIDVALIDITY, "HIGHESTMODSEQ": modseq}

    def get_news(self) -> None:
        """Tell a client in IDLE of one more message."""
        self._arrived[self._user] += 1
        self._say(f"* {self._messages} EXISTS")

    def _say(self, text: str) -> None:
        self._write(f"{text}\r\n".encode())

    def answer(self, line: bytes) -> bool:
        """Answer one command, and tell whether the session goes on."""
        if self.idle_tag:
            self._say(f"{self.idle_tag} OK idled")
            self.idle_tag = ""
            self._counted.idling -= 1
            return True
        tag, _, rest = line.strip().partition(b" ")
        verb = b" ".join(rest.split()[: 2 if rest[:3].upper() == b"UID" else 1]).decode().upper().replace(" ", "_")
        respond = getattr(self, f"_on_{verb.lower()}", None)
        end = respond(rest, tag.decode()) if respond is not None else "BAD unknown"
        if end:
            self._say(f"{tag.decode()} {end}")
        return verb != "LOGOUT"

    def _on_capability(self, *_: object) -> str:
        self._say(f"* CAPABILITY {_CAPABILITIES}")
        return "OK done"

    def _on_login(self, line: bytes, _: str) -> str:
        self._user = line.split()[1].decode().strip('"')
        self.is_logged_in = True
        self._counted.logins += 1
        self._counted.coming -= 1
        return "OK logged in"

    def _on_id(self, *_: object) -> str:
        self._say('* ID ("name" "scripted")')
        return "OK done"

    def _on_enable(self, *_: object) -> str:
        self._say("* ENABLED QRESYNC CONDSTORE")
        return "OK done"

    def _on_list(self, line: bytes, _: str) -> str:
        self._say('* LIST (\\HasNoChildren) "/" INBOX')
        return self._on_status() if b"STATUS" in line else "OK done"

    def _on_status(self, *_: object) -> str:
        counts = " ".join(f"{name} {value}" for name, value in self._counts.items())
        self._say(f"* STATUS INBOX (MESSAGES {self._messages} {counts})")
        return "OK done"

    def _on_select(self, *_: object) -> str:
        self._say(f"* {self._messages} EXISTS")
        self._say("* 0 RECENT")
        self._say("* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)")
        self._say("* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] ")
        for name, value in self._counts.items():
            self._say(f"* OK [{name} {value}] ")
        return "OK [READ-WRITE] selected"

    _on_examine = _on_select

    def _on_noop(self, *_: object) -> str:
        return "OK done"

    def _on_uid_search(self, line: bytes, _: str) -> str:
        self._say(f"* SEARCH {' '.join(map(str, self._uids(line)))}")
        return "OK done"

    def _on_uid_fetch(self, line: bytes, _: str) -> str:
        items = line.upper()
        since = int(found[1]) if (found := _SINCE.search(items)) else 0
        for uid in (uid for uid in self._uids(line) if self._modseq(uid) > since):
            letter = self._letter(uid)
            values = [f"UID {uid}".encode()]
            for item, value in (
                (b"FLAGS", b"(\\Seen)"),
                (b"MODSEQ", b"(%d)" % self._modseq(uid)),
                (b"INTERNALDATE", b'"%s"' % self._date(uid)),
                (b"RFC822.SIZE", b"%d" % len(letter)),
            ):
                if item in items:
                    values.append(item + b" " + value)
            for item, octets in ((b"BODY.PEEK[]", letter), (b"BODY.PEEK[HEADER]", letter.partition(b"\r\n\r\n")[0])):
                if item in items:
                    values.append(item.replace(b".PEEK", b"") + b" {%d}\r\n" % len(octets) + octets)
            self._write(b"* %d FETCH (%s)\r\n" % (uid, b" ".join(values)))
        return "OK done"

    def _on_idle(self, _: bytes, tag: str) -> str:
        self._say("+ idling")
        self.idle_tag = tag
        self._counted.idles += 1
        self._counted.idling += 1
        return ""

    def _on_logout(self, *_: object) -> str:
        self._say("* BYE")
        return "OK done"

    def _uids(self, line: bytes) -> list[int]:
        found = _UIDS.search(line)
        wanted: list[int] = []
        for part in found[1].decode().split(",") if found else ["1:*"]:
            first, _, last = part.partition(":")
            end = self._messages if last == "*" else int(last or first)
            wanted += range(int(first), min(end, self._messages) + 1)
        return wanted

    def _modseq(self, uid: int) -> int:
        return _MODSEQ + max(uid - self._first, 0)

    def _letter(self, uid: int) -> bytes:
        head = f"From: a@example.org\r\nSubject: letter {uid}\r\nMessage-ID: <{uid}.{self._user}@example.org>\r\n\r\n"
        return head.encode() + b"A line of a letter that is like any other.\r\n" * (5 + self._chance(uid) % 50)

    def _date(self, uid: int) -> bytes:
        date = _NEWEST - datetime.timedelta(seconds=self._chance(uid) % (3 * 365 * 86400))
        return f"{date:%d-%b-%Y %H:%M:%S +0000}".encode()

    def _chance(self, uid: int) -> int:
        """Return a number that is another one for each message: equal sizes and dates would be a sign of a move."""
        return zlib.crc32(f"{self._user} {uid}".encode())


async def _serve(messages: int, certificates: Path | None) -> None:
    counted, arrived, sessions = Counted(), defaultdict[str, int](int), dict[_Connection, None]()

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(messages, arrived, counted, writer.write)
        sessions[connection] = None
        counted.connections += 1
        counted.coming += 1
        counted.most_coming = max(counted.most_coming, counted.coming)
        try:
            writer.write(f"* OK [CAPABILITY {_CAPABILITIES}] scripted\r\n".encode())
            while line := await reader.readline():
                while found := _LITERAL.search(line):
                    octets = await reader.readexactly(int(found[1]))
                    line = line[: found.start()] + octets + await reader.readline()
                if not connection.answer(line):
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            del sessions[connection]
            counted.connections -= 1
            counted.coming -= not connection.is_logged_in
            counted.idling -= bool(connection.idle_tag)
            writer.transport.abort()

    context = None
    if certificates is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    server = await asyncio.start_server(session, HOST, 0, ssl=context, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)

    def get_news(count: int) -> None:
        for connection in [one for one in sessions if one.idle_tag][:count]:
            connection.get_news()
            sessions[connection] = sessions.pop(connection)  # the others come first the next time

    loop = asyncio.get_running_loop()

    def tell() -> None:
        for line in sys.stdin:
            if line.startswith("news"):
                loop.call_soon_threadsafe(get_news, int(line.split()[1]))
            print(json.dumps({name: getattr(counted, name) for name in Counted.__slots__}), flush=True)

    threading.Thread(target=tell, daemon=True).start()
    await server.serve_forever()


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("messages", type=int)
    parser.add_argument("--certificates", type=Path)
    given = parser.parse_args()
    asyncio.run(_serve(given.messages, given.certificates))


if __name__ == "__main__":
    _main()
