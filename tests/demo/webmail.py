"""The server as another program of the person sees it: a web mail, say."""

import imaplib
import re
from collections.abc import Callable

from tests.demo.letters import INBOX, Letter
from tests.servers.dovecot import Dovecot

_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")


class Webmail:
    """Read and change one user's INBOX on the server."""

    def __init__(self, server: Dovecot, user: str) -> None:
        self._server = server
        self._user = user
        self._uids: dict[str, int] = {}

    def receive(self, letter: Letter) -> None:
        """Deliver a letter."""
        self._uids[letter.name] = self._server.deliver(self._user, INBOX, letter.octets())

    def flag(self, letter: Letter, flag: str) -> None:
        """Add a flag to a letter."""
        with self._inbox() as client:
            client.uid("STORE", str(self._uids[letter.name]), "+FLAGS.SILENT", flag)

    def delete(self, letter: Letter) -> None:
        """Delete a letter at once, without a trash."""
        with self._inbox() as client:
            client.uid("STORE", str(self._uids[letter.name]), "+FLAGS.SILENT", "\\Deleted")
            client.uid("EXPUNGE", str(self._uids[letter.name]))

    def shows(self, letter: Letter, *flags: str) -> Callable[[], bool]:
        """Return a question whether the letter has exactly these flags, \\Recent apart."""
        client = self._inbox()
        uid, wanted = str(self._uids[letter.name]), {flag.encode() for flag in flags}

        def ask() -> bool:
            client.noop()
            _, answer = client.uid("FETCH", uid, "(FLAGS)")
            found = _FLAGS.search(answer[0]) if isinstance(answer[0], bytes) else None
            return found is not None and set(found[1].split()) - {b"\\Recent"} == wanted

        return ask

    def has(self, letter: Letter, mailbox: str) -> Callable[[], bool]:
        """Return a question whether a mailbox has the letter."""
        client = self._server.imap(self._user)

        def ask() -> bool:
            client.select(mailbox, readonly=True)
            return bool(_found(client, letter))

        return ask

    def has_one(self, letter: Letter, mailbox: str) -> Callable[[], bool]:
        """Return a question whether a mailbox has one message of the letter, with the letter's text."""
        client = self._server.imap(self._user)

        def ask() -> bool:
            client.select(mailbox, readonly=True)
            uids = _found(client, letter).split()
            if len(uids) != 1:
                return False
            _, answer = client.uid("FETCH", uids[0].decode(), "(BODY.PEEK[TEXT])")
            return any(letter.text.encode() in part[1] for part in answer if isinstance(part, tuple))

        return ask

    def lacks(self, letter: Letter) -> Callable[[], bool]:
        """Return a question whether INBOX no longer has the letter."""
        is_there = self.has(letter, INBOX)
        return lambda: not is_there()

    def count(self) -> int:
        """Return how many messages INBOX has."""
        _, answer = self._server.imap(self._user).select(INBOX, readonly=True)
        return int(answer[0] or 0)

    def _inbox(self) -> imaplib.IMAP4:
        client = self._server.imap(self._user)
        client.select(INBOX)
        return client


def _found(client: imaplib.IMAP4, letter: Letter) -> bytes:
    _, answer = client.uid("SEARCH", "HEADER", "Message-ID", f'"{letter.message_id.decode().strip("<>")}"')
    return answer[0] or b""


def left_on_pop3(server: Dovecot, user: str) -> int:
    """Return how many messages a POP3 account still has on its server."""
    client = server.pop3(user)
    try:
        return client.stat()[0]
    finally:
        client.quit()
