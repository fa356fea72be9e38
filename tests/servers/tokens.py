"""A provider of OAuth for tests: it signs tokens that a Dovecot believes, also expired ones, and asks nobody."""

import base64
import hashlib
import hmac
import json
import secrets
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_HOUR_S = 3600


class TokenProvider:
    """Sign tokens (JWT, RFC 7519) with a key of one's own; see `dovecot_config`."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        # NOTE: Dovecot runs as another user when we are root, for whom pytest's directories are closed.
        self._directory = tempfile.TemporaryDirectory(prefix="syncd-tokens-", dir="/tmp")

    def token(self, user: str, *, expires_in_s: int = _HOUR_S) -> str:
        """Return a token for a user, each time another one; one of a negative time has expired."""
        now = int(time.time())
        claims = {
            "sub": user,
            "iat": now - 2 * _HOUR_S,
            "nbf": now - 2 * _HOUR_S,
            "exp": now + expires_in_s,
            "jti": secrets.token_hex(8),
        }
        signed = b".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
        return b".".join((signed, _encoded(hmac.digest(self._key, signed, hashlib.sha256)))).decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._directory.cleanup()

    def dovecot_config(self) -> str:
        """Return what a Dovecot of 2.3 needs to take these tokens, which it judges by the provider's key."""
        directory = Path(self._directory.name)
        key = directory / "keys" / "default" / "HS256" / "default"
        key.parent.mkdir(parents=True)
        key.write_bytes(base64.b64encode(self._key))
        settings = directory / "oauth2.conf"
        settings.write_text(
            "introspection_mode = local\n"
            f"local_validation_key_dict = fs:posix:prefix={directory}/keys/\n"
            "username_attribute = sub\n"
        )
        for path in (directory, *directory.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        return f"""
auth_mechanisms = plain scram-sha-256 scram-sha-1 oauthbearer xoauth2
passdb {{
  driver = oauth2
  mechanisms = oauthbearer xoauth2
  args = {settings}
}}
"""


def _encoded(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")
