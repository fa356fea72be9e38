"""Floor 1: SCRAM (RFC 5802, RFC 7677): no password goes over the line, and the server has to know it as well.

Context: the library for it, scramp, loads all of X.509, for a tenth of a second and four megabytes of each process.
Decision: it is a page over `hashlib`, and so ours; tests hold it against that library. Cost: no channel binding.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets

from syncd.errors import LoginRefusedError, ProtocolError, TrustError
from syncd.sasl.saslprep import prepared

_HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}
_GS2_HEADER = "n,,"
"""No channel binding, and nobody else to be (RFC 5801 §4)."""
_CHALLENGE = re.compile(
    rb"r=([!-+\--~]{1,1000}),s=([0-9A-Za-z+/=]{4,1000}),i=([1-9][0-9]{0,9})(?:,[A-Zbdf-hj-loqtuw-z]=[!-+\--~]+)*"
)
"""With extensions that may be ignored, as none of the letters that mean something does."""
_END = re.compile(rb"v=([0-9A-Za-z+/=]{4,1000})(?:,.*)?", re.DOTALL)
_ITERATIONS_MIN = 4096
"""What RFC 7677 §4 asks of servers: with fewer, who listens guesses passwords the faster."""
_ITERATIONS_MAX = 1_000_000
"""Half a second of a processor: what a server can make us spend."""


class Scram:
    """One of SCRAM-SHA-256 and SCRAM-SHA-1, without channel binding. nonce: only for tests."""

    complaint = ""

    def __init__(self, name: str, username: str, password: str, *, nonce: str | None = None) -> None:
        self.name = name
        self._hash = _HASHES[name]
        self._username = username
        self._password = password
        self._nonce = nonce or secrets.token_hex(16)
        self._bare = b""
        self._signature: bytes | None = None
        self._is_proven = False

    def first(self) -> bytes:
        """Return the first message; LoginRefusedError for a user name or password that SASLprep does not allow."""
        username, password = prepared(self._username, allows_unassigned=True), prepared(self._password)
        if not username or not password:
            raise LoginRefusedError(f"a character in user name or password is none that {self.name} allows")
        self._password = password
        self._bare = f"n={username.replace('=', '=3D').replace(',', '=2C')},r={self._nonce}".encode()
        return _GS2_HEADER.encode() + self._bare

    def answer(self, challenge: bytes) -> bytes | None:
        if self._signature is None:
            return self._proof(challenge)
        return None if self._is_proven else self._end(challenge, self._signature)

    def is_proven(self) -> bool:
        return self._is_proven

    def _proof(self, challenge: bytes) -> bytes:
        found = _CHALLENGE.fullmatch(challenge)
        nonce = self._nonce.encode()
        if found is None or not found[1].startswith(nonce) or found[1] == nonce:
            raise ProtocolError(f"the server said what is not of {self.name}")
        iterations = int(found[3])
        if not _ITERATIONS_MIN <= iterations <= _ITERATIONS_MAX:
            raise ProtocolError(f"the server asks for too few or too many iterations of {self.name}")
        salted = hashlib.pbkdf2_hmac(self._hash, self._password.encode(), self._decoded(found[2]), iterations)
        client_key = hmac.digest(salted, b"Client Key", self._hash)
        server_key = hmac.digest(salted, b"Server Key", self._hash)
        end = b"c=" + base64.b64encode(_GS2_HEADER.encode()) + b",r=" + found[1]
        said = b",".join((self._bare, challenge, end))
        stored_key = hashlib.new(self._hash, client_key).digest()
        mask = hmac.digest(stored_key, said, self._hash)
        proof = bytes(one ^ other for one, other in zip(client_key, mask, strict=True))
        self._signature = hmac.digest(server_key, said, self._hash)
        return end + b",p=" + base64.b64encode(proof)

    def _end(self, challenge: bytes, signature: bytes) -> bytes:
        if challenge.startswith(b"e="):
            return b""  # its NO follows, and says it better
        found = _END.fullmatch(challenge)
        if found is None or not hmac.compare_digest(self._decoded(found[1]), signature):
            raise TrustError("the server did not prove itself at login")
        self._is_proven = True
        return b""

    def _decoded(self, text: bytes) -> bytes:
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ProtocolError(f"the server said what is not of {self.name}") from error
