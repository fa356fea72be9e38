"""A fake identity provider of OAuth 2.0 over HTTPS on loopback: strict as a real one, and a test plays the person.

It judges by RFC 6749, 7636 (S256 only) and 8628, and as RFC 9700 advises: what is used twice was stolen, so a code or a
refresh token that comes again ends its whole grant. Who believes its access tokens asks nobody: they outlive `revoke`.
"""

import base64
import contextlib
import hashlib
import http.client
import json
import math
import re
import secrets
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.servers.certificates import write_certificates
from tests.servers.ports import HOST, free_ports
from tests.servers.tokens import TokenProvider

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
_TIMEOUT_S = 10
_SLOWER_S = 5
_FORM = "application/x-www-form-urlencoded"
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, no words: RFC 8628, 6.1
_CHALLENGE = re.compile(r"[\w-]{43}", re.ASCII)
_VERIFIER = re.compile(r"[\w.~-]{43,128}", re.ASCII)
_Answer = tuple[int, str]


class _Refused(Exception):
    def __init__(self, error: str, why: str, *, status: int = 400) -> None:
        super().__init__(error, why)
        self.answer = (status, json.dumps({"error": error, "error_description": why}))


@dataclass(slots=True)
class _Grant:
    """What a person has allowed; `refresh_token` is the one that is alive."""

    user: str
    scope: str
    refresh_token: str = ""
    is_dead: bool = False


@dataclass(slots=True)
class _Code:
    grant: _Grant
    redirect_uri: str
    challenge: str
    is_used: bool = False


@dataclass(slots=True)
class _Device:
    user_code: str
    scope: str
    interval_s: int
    dies_at: float
    polled_at: float = -math.inf
    is_refused: bool = False
    grant: _Grant | None = None


class Authority:
    """Serve `/authorize`, `/device` and `/token` for one client; every plain attribute may be changed meanwhile.

    A client is public, and then must send no secret, unless `client_secret` is set. `expires_in_s` is how long access
    tokens really live. With `rotates` each refresh brings another refresh token; without, or if `gives_refresh_token`
    is false, the one that there is stays. `failure` is the status and the body of whatever is asked of `/token`; while
    `answers_renewals` is not set, a refresh is judged and not answered. Of what was asked and given: `asked` are the
    grant types of all requests for tokens, `refreshes` counts those that brought one, and `issued` are all access and
    refresh tokens, codes and device codes.
    """

    def __init__(
        self,
        tokens: TokenProvider,
        *,
        client_id: str = "syncd-tests",
        client_secret: str | None = None,
        interval_s: int = 1,
    ) -> None:
        self.client_id, self.client_secret = client_id, client_secret
        self.interval_s = interval_s
        self.device_expires_in_s = 300
        self.expires_in_s = 3600
        self.announces_expiry = self.gives_refresh_token = self.rotates = True
        self.failure: _Answer | None = None
        self.answers_renewals = threading.Event()
        self.answers_renewals.set()
        self.refreshes = 0
        self.asked: list[str] = []
        self.issued: list[str] = []
        (self._port,) = free_ports(1)
        self._tokens = tokens
        self._lock = threading.Lock()
        self._requests: dict[str, Mapping[str, str]] = {}
        self._codes: dict[str, _Code] = {}
        self._devices: dict[str, _Device] = {}
        self._grants: list[_Grant] = []
        self._refreshable: dict[str, _Grant] = {}
        self._open = contextlib.ExitStack()
        self._home = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="syncd-authority-", dir="/tmp")))
        write_certificates(self._home)
        self.ca_file = self._home / "ca.pem"
        self.authorization_url, self.device_url, self.token_url, self._verification_url = (
            f"https://{HOST}:{self._port}/{name}" for name in ("authorize", "device", "token", "activate")
        )

    def __enter__(self) -> Self:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._home / "server.pem", self._home / "server.key")
        server = self._open.enter_context(_Server((HOST, self._port), partial(_Handler, self._answer)))
        # NOTE: hands are shaken by the thread of each connection, so that nobody who stalls holds up the others.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        self._open.callback(serving.join)
        self._open.callback(server.shutdown)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def consent(self, url: str, user: str) -> str:
        """Open an authorization URL and allow what it asks; return where the browser would be sent."""
        asked = self._opened(url)
        with self._lock:
            code = self._secret()
            grant = self._granted(user, asked["scope"])
            self._codes[code] = _Code(grant, asked["redirect_uri"], asked["code_challenge"])
        return _redirect(asked, code=code)

    def deny(self, url: str) -> str:
        """Open an authorization URL and allow nothing; return where the browser would be sent."""
        return _redirect(self._opened(url), error="access_denied")

    def approve(self, user_code: str, user: str) -> None:
        """Type the code that a program shows, and allow what it asks."""
        with self._lock:
            device = self._shown(user_code)
            device.grant = self._granted(user, device.scope)

    def refuse(self, user_code: str) -> None:
        """Type the code that a program shows, and allow nothing."""
        with self._lock:
            self._shown(user_code).is_refused = True

    def revoke(self) -> None:
        """End all that people have allowed so far, also what no token was fetched for yet."""
        with self._lock:
            for grant in self._grants:
                grant.is_dead = True

    def _opened(self, url: str) -> Mapping[str, str]:
        parts = urlsplit(url)
        assert parts.scheme == "https", url
        trusting = ssl.create_default_context(cafile=str(self.ca_file))
        connection = http.client.HTTPSConnection(parts.netloc, timeout=_TIMEOUT_S, context=trusting)
        with contextlib.closing(connection):
            connection.request("GET", f"{parts.path}?{parts.query}")
            answer = connection.getresponse()
            page = answer.read().decode()
        assert answer.status == 200, page
        with self._lock:
            return self._requests.pop(page.split()[-1])

    def _answer(self, method: str, target: str, form: str | None) -> _Answer:
        answer = self._judged(method, target, form)
        if "grant_type=refresh_token" in (form or ""):
            self.answers_renewals.wait(_TIMEOUT_S)
        return answer

    def _judged(self, method: str, target: str, form: str | None) -> _Answer:
        path, _, query = target.partition("?")
        with self._lock:
            try:
                match method, path:
                    case "GET", "/authorize":
                        return self._authorize(query)
                    case "GET", "/activate":
                        return 200, "Type the code that your device shows."
                    case "POST", "/device":
                        return 200, json.dumps(self._begin_device(_parameters(form)))
                    case "POST", "/token":
                        self.asked.append(dict(parse_qsl(form or "")).get("grant_type", ""))
                        return self.failure or (200, json.dumps(self._tokens_for(_parameters(form))))
                return 404, "There is nothing here."
            except _Refused as refused:
                return refused.answer

    def _authorize(self, query: str) -> _Answer:
        pairs = parse_qsl(query)
        asked = dict(pairs)
        judged = {
            "a parameter that is there twice": len(asked) == len(pairs),
            "response_type": asked.get("response_type") == "code",
            "client_id": asked.get("client_id") == self.client_id,
            "redirect_uri": _is_loopback(asked.get("redirect_uri", "")),
            "code_challenge_method": asked.get("code_challenge_method") == "S256",
            "code_challenge": _CHALLENGE.fullmatch(asked.get("code_challenge", "")),
            "state": asked.get("state"),
            "scope": asked.get("scope", "").strip(),
        }
        if wrong := [name for name, is_right in judged.items() if not is_right]:
            return 400, f"Wrong or missing: {', '.join(wrong)}"
        request = secrets.token_urlsafe()
        self._requests[request] = asked
        return 200, f"Do you let {self.client_id} read your mail? This is request {request}"

    def _begin_device(self, given: Mapping[str, str]) -> dict[str, object]:
        self._judge_client(given, is_secret_needed=False)
        scope = _needed(given, "scope")
        user_code = "-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(2))
        dies_at = time.monotonic() + self.device_expires_in_s
        code = self._secret()
        self._devices[code] = _Device(user_code, scope, self.interval_s, dies_at)
        return {
            "device_code": code,
            "user_code": user_code,
            "verification_uri": self._verification_url,
            "expires_in": self.device_expires_in_s,
            "interval": self.interval_s,
        }

    def _tokens_for(self, given: Mapping[str, str]) -> dict[str, object]:
        kind = _needed(given, "grant_type")
        self._judge_client(given, is_secret_needed=True)
        judges = {"authorization_code": self._by_code, DEVICE_CODE: self._by_device, "refresh_token": self._by_refresh}
        if kind not in judges:
            raise _Refused("unsupported_grant_type", kind)
        return judges[kind](given)

    def _by_code(self, given: Mapping[str, str]) -> dict[str, object]:
        presented, redirect_uri, verifier = (_needed(given, name) for name in ("code", "redirect_uri", "code_verifier"))
        code = self._codes.get(presented)
        if code is None:
            raise _Refused("invalid_grant", "the code is unknown")
        code.grant.is_dead |= code.is_used
        code.is_used = True
        if redirect_uri != code.redirect_uri:
            raise _Refused("invalid_grant", "the code was sent to another redirect_uri")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        if not _VERIFIER.fullmatch(verifier) or challenge != code.challenge:
            raise _Refused("invalid_grant", "the code_verifier is not that of the code_challenge")
        return self._issue(code.grant, code.grant.scope, with_refresh_token=True)

    def _by_device(self, given: Mapping[str, str]) -> dict[str, object]:
        presented = _needed(given, "device_code")
        device = self._devices.get(presented)
        if device is None:
            raise _Refused("invalid_grant", "the device_code is unknown, or used")
        now = time.monotonic()
        waited_s, device.polled_at = now - device.polled_at, now
        if now >= device.dies_at:
            raise _Refused("expired_token", "begin again")
        if waited_s < device.interval_s:
            device.interval_s += _SLOWER_S
            raise _Refused("slow_down", f"poll every {device.interval_s} s")
        if device.is_refused:
            raise _Refused("access_denied", "the person has refused")
        if device.grant is None:
            raise _Refused("authorization_pending", "the person has not answered yet")
        del self._devices[presented]
        return self._issue(device.grant, device.scope, with_refresh_token=True)

    def _by_refresh(self, given: Mapping[str, str]) -> dict[str, object]:
        presented = _needed(given, "refresh_token")
        grant = self._refreshable.get(presented)
        if grant is None:
            raise _Refused("invalid_grant", "the refresh_token is unknown")
        grant.is_dead |= presented != grant.refresh_token
        scope = given.get("scope", grant.scope)
        if not set(scope.split()) <= set(grant.scope.split()):
            raise _Refused("invalid_scope", "the person has not allowed so much")
        answer = self._issue(grant, scope, with_refresh_token=self.rotates)
        self.refreshes += 1
        return answer

    def _issue(self, grant: _Grant, scope: str, *, with_refresh_token: bool) -> dict[str, object]:
        if grant.is_dead:
            raise _Refused("invalid_grant", "it was revoked, or what it is about was used before")
        token = self._tokens.token(grant.user, expires_in_s=self.expires_in_s)
        self.issued.append(token)
        answer: dict[str, object] = {"access_token": token, "token_type": "Bearer", "scope": scope}
        if self.announces_expiry:
            answer["expires_in"] = self.expires_in_s
        if with_refresh_token and self.gives_refresh_token:
            grant.refresh_token = answer["refresh_token"] = self._secret()
            self._refreshable[grant.refresh_token] = grant
        return answer

    def _judge_client(self, given: Mapping[str, str], *, is_secret_needed: bool) -> None:
        secret = given.get("client_secret")
        is_right = secret == (self.client_secret or None) or (secret is None and not is_secret_needed)
        if given.get("client_id") != self.client_id or not is_right:
            raise _Refused("invalid_client", "the client_id or the client_secret is wrong", status=401)

    def _granted(self, user: str, scope: str) -> _Grant:
        grant = _Grant(user, scope)
        self._grants.append(grant)
        return grant

    def _shown(self, user_code: str) -> _Device:
        return {device.user_code: device for device in self._devices.values()}[user_code]

    def _secret(self) -> str:
        secret = secrets.token_urlsafe(32)
        self.issued.append(secret)
        return secret


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # such as a client's that does not trust us, and hangs up
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    timeout = _TIMEOUT_S

    def __init__(self, answer: Callable[[str, str, str | None], _Answer], *connected: Any) -> None:
        self._answer = answer
        super().__init__(*connected)

    def do_GET(self) -> None:
        self._reply(*self._answer("GET", self.path, None))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode(errors="replace")
        self._reply(*self._answer("POST", self.path, body if self.headers.get_content_type() == _FORM else None))

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _reply(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if text.startswith("{") else "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)


def _parameters(encoded: str | None) -> dict[str, str]:
    """Return parameters without those that are empty, which count as left out (RFC 6749, 3.1)."""
    if encoded is None:
        raise _Refused("invalid_request", f"the body is not {_FORM}")
    pairs = parse_qsl(encoded)
    given = dict(pairs)
    if len(given) < len(pairs):
        raise _Refused("invalid_request", "a parameter is there twice")
    return given


def _needed(given: Mapping[str, str], name: str) -> str:
    if name not in given:
        raise _Refused("invalid_request", f"{name} is missing")
    return given[name]


def _redirect(asked: Mapping[str, str], **parameters: str) -> str:
    uri = asked["redirect_uri"]
    return f"{uri}{'&' if '?' in uri else '?'}{urlencode({**parameters, 'state': asked['state']})}"


def _is_loopback(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        is_ours = parts.hostname in (HOST, "localhost") and parts.port != 0
    except ValueError:
        return False
    return is_ours and parts.scheme == "http" and parts.username is None and "#" not in uri
