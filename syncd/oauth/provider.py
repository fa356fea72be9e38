"""Floor 3: a provider of OAuth, asked by HTTP: for access, once, and for the next token, whenever one has ended.

Theory. What a provider says is for programs, but for a code of an error; its sentences, which may hold addresses, are
shown to the person who logs in and written nowhere. Of what it refuses a person can mend most, so that waiting does not
help; a provider that is away, or has too much to do, answers later.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable
from math import isfinite
from typing import Any, NoReturn
from urllib.parse import urlencode

import aiohttp
from oauthlib.oauth2 import DeviceClient, OAuth2Error, WebApplicationClient

from syncd.config.oauth import Application
from syncd.errors import NoAccessError, SecretError, Temper, why_unreachable
from syncd.oauth.grants import Grant
from syncd.sasl.tokens import is_token
from syncd.tls import client_context
from syncd.values import Opaque

_ANSWER_S = 30.0
_ANSWER_MAX_BYTES = 64 * 1024
_STEP_S = 5.0
"""How often is asked where a provider does not say, and how much more seldom if it complains (RFC 8628 §3.2, §3.5)."""
_STEP_MAX_S = 60.0
_CODE_S, _CODE_MAX_S = 600.0, 3600.0
_FAILURES_MAX = 5
"""So often in a row a provider may be away while a person grants access."""
_LIFE_MAX_S = 10 * 365 * 86400.0
_SOON_S = 300.0
"""A token that ends within this time, or a fifth of its life, is not used any more: clocks differ, logins take time."""
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Content-Type": "application/x-www-form-urlencoded",
}
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MICROSOFT_CODE = re.compile(r"AADSTS[0-9]{1,9}")
_LATER = frozenset({"server_error", "slow_down", "temporarily_unavailable"})
_GOING_ON = frozenset({"authorization_pending", "slow_down"})
"""RFC 8628 §3.5: nobody has granted access yet."""
_WORDS = {
    "invalid_grant": "the provider takes this no more: it ran out, or was used",
    "invalid_client": "the provider does not know this client_id, or not with this client_secret",
    "unauthorized_client": "the provider does not let this application ask so",
    "invalid_scope": "the provider does not know these scopes, or does not grant them",
    "access_denied": "the access was refused",
    "expired_token": "nobody granted the access in time",
}
_ENDED = frozenset({"invalid_grant", "interaction_required", "login_required", "consent_required"})


class ProviderError(SecretError):
    """A provider refused.

    code: the word of RFC 6749 §5.2 or RFC 8628 §3.5. words: its own, which only whoever logs in is shown.
    """

    def __init__(self, code: str, words: str = "") -> None:
        known = _MICROSOFT_CODE.search(words)
        self.shown = ", ".join((code, *([known[0]] if known else [])))
        text = _WORDS.get(code, "the provider of tokens refuses")
        super().__init__(f"{text} ({self.shown})", temper=Temper.WAIT if code in _LATER else Temper.GIVE_UP)
        self.code = code
        self.words = words


class EndedError(NoAccessError):
    """A provider renews an access no more; so says what it refused."""

    def __init__(self, refused: ProviderError) -> None:
        super().__init__(f"the provider renews the access no more: it ran out, or was withdrawn ({refused.shown})")


class DeviceCode(Opaque):
    """Hold what a person enters where, in any browser, and how we ask whether that is done."""

    page: str
    user_code: str
    device_code: str
    lives_s: float
    step_s: float


class Authorization(Opaque):
    """Hold what was asked of a browser, at `url`, and what its answer is proved with (RFC 7636)."""

    url: str
    redirect_url: str
    state: str
    verifier: str


class Provider:
    """Ask the provider of an application."""

    def __init__(
        self, application: Application, *, clock: Callable[[], float] = time.time, least_step_s: float = 1.0
    ) -> None:
        """Ask at most once in `least_step_s` whether a person has granted access by a code."""
        self._application = application
        self._clock = clock
        self._least_step_s = least_step_s

    async def renewed(self, grant: Grant) -> Grant:
        """Return a grant with another access token, and mostly another token to renew it with; the old one is over.

        EndedError where a person has to log in again, SecretError for all else.
        """
        body = self._client().prepare_refresh_body(refresh_token=grant.refresh_token, **self._identity())
        try:
            return await self._granted(body, grant.refresh_token)
        except ProviderError as error:
            if error.code in _ENDED:
                raise EndedError(error) from None
            raise

    async def device_code(self) -> DeviceCode:
        """Begin with a code that a person enters anywhere (RFC 8628 §3.1)."""
        url, scopes = self._application.device_url, self._application.scopes
        if url is None:
            raise SecretError("this provider has no device_url", temper=Temper.GIVE_UP)
        body = urlencode({**self._identity(), "scope": " ".join(scopes)})
        told = _as_object(await self._post(url, body, "device_url"))
        # NOTE: Google and older drafts call it verification_url.
        page = told.get("verification_uri") or told.get("verification_url")
        texts = (page, told.get("user_code"), told.get("device_code"))
        if not all(isinstance(one, str) and _is_sendable(one) for one in texts):
            _not_understood("device_url")
        lives_s = _seconds(told.get("expires_in"), _CODE_S, least=1.0, most=_CODE_MAX_S)
        step_s = _seconds(told.get("interval"), _STEP_S, least=self._least_step_s, most=_STEP_MAX_S)
        page, user_code, device_code = map(str, texts)
        return DeviceCode(page, user_code, device_code, lives_s, step_s)

    async def of_device(self, code: DeviceCode) -> Grant:
        """Return what a person granted by a code; wait for that as long as the code lives."""
        client = DeviceClient(self._application.client_id)
        body = client.prepare_request_body(code.device_code, include_client_id=True, **self._secret())
        step_s, failures = code.step_s, 0
        try:
            async with asyncio.timeout(code.lives_s):
                while True:
                    await asyncio.sleep(step_s)
                    try:
                        return await self._granted(body, None)
                    except SecretError as error:
                        word = error.code if isinstance(error, ProviderError) else ""
                        failures = 0 if word in _GOING_ON else failures + 1
                        step_s += _STEP_S if word == "slow_down" else 0.0
                        if failures == _FAILURES_MAX or (failures and error.temper is Temper.GIVE_UP):
                            raise
        except TimeoutError:
            raise ProviderError("expired_token") from None

    def authorization(self, redirect_url: str, username: str) -> Authorization:
        """Return where a browser is to go, which comes back to `redirect_url` with a code (RFC 8252, RFC 7636)."""
        application = self._application
        if application.authorization_url is None:
            raise SecretError("this provider has no authorization_url", temper=Temper.GIVE_UP)
        client = self._client()
        verifier, state = client.create_code_verifier(64), client.create_code_verifier(43)
        url = client.prepare_request_uri(
            application.authorization_url,
            redirect_uri=redirect_url,
            scope=list(application.scopes),
            state=state,
            code_challenge=client.create_code_challenge(verifier, "S256"),
            code_challenge_method="S256",
            login_hint=username,
            **application.extra,
        )
        return Authorization(url, redirect_url, state, verifier)

    async def of_browser(self, asked: Authorization, came_to: str) -> Grant:
        """Return what a person granted in a browser, which then came to this address; ValueError for another one."""
        came_to = came_to.strip()
        end = came_to.removeprefix(asked.redirect_url)
        if end == came_to or not end.startswith(("/?", "?")):
            raise ValueError("that is not the address at which the browser ends")
        # NOTE: oauthlib wants https of an address, also of one that never leaves this machine (RFC 8252 §7.3).
        address = came_to.replace("http:", "https:", 1)
        try:
            answer = self._client().parse_request_uri_response(address, state=asked.state)
        except OAuth2Error as error:
            if error.error in ("mismatching_state", "missing_code"):
                raise ValueError("that address is of another login, or not whole") from None
            raise _refused(error) from None
        body = self._client().prepare_request_body(
            code=answer["code"],
            redirect_uri=asked.redirect_url,
            code_verifier=asked.verifier,
            client_secret=self._application.client_secret,
        )
        return await self._granted(body, None)

    async def _granted(self, body: str, refresh_token: str | None) -> Grant:
        """Return what is answered to a question for tokens; refresh_token: the one that stays if none is answered."""
        asked_at = self._clock()
        told = _parsed(await self._post(self._application.token_url, body, "token_url"))
        refresh_token = told.get("refresh_token") or refresh_token
        access_token = told.get("access_token")
        if not isinstance(access_token, str) or not is_token(access_token):
            _not_understood("token_url")
        if not isinstance(refresh_token, str) or not _is_sendable(refresh_token):
            raise SecretError(
                "the provider gives a token but nothing to renew it with: withdraw the access of the application there"
                " and log in again, or see whether a scope such as offline_access is missing",
                temper=Temper.GIVE_UP,
            )
        life_s = _seconds(told.get("expires_in"), 0.0, least=0.0, most=_LIFE_MAX_S)
        usable_until = asked_at + life_s - min(_SOON_S, life_s / 5)
        of = self._application
        return Grant(of.client_id, of.token_url, refresh_token, access_token, usable_until)

    async def _post(self, url: str, body: str, key: str) -> str:
        """Return what is answered, be it yes or no (RFC 6749 §5); SecretError where nothing is that can be used.

        key: of the configuration, which names the address.
        """
        try:
            context = await asyncio.to_thread(client_context)
            async with (
                asyncio.timeout(_ANSWER_S),
                # NOTE: what is compressed may be of any size.
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(ssl=context), headers=_HEADERS, auto_decompress=False
                ) as session,
                # NOTE: whoever says that it is elsewhere would be told our secrets there.
                session.post(url, data=body, allow_redirects=False) as answer,
            ):
                octets = await answer.content.read(_ANSWER_MAX_BYTES)
                while not answer.content.at_eof() and len(octets) < _ANSWER_MAX_BYTES:
                    octets += await answer.content.read(_ANSWER_MAX_BYTES)
                status = answer.status
        except TimeoutError:
            raise SecretError(f"the provider of tokens did not answer within {_ANSWER_S:g} s") from None
        except aiohttp.ClientSSLError:
            raise SecretError("the provider of tokens cannot be trusted: see its certificate, and the clock") from None
        except (aiohttp.InvalidURL, UnicodeError):
            raise SecretError(f"{key} is no address that can be asked", temper=Temper.GIVE_UP) from None
        except (aiohttp.ClientError, OSError) as error:
            raise SecretError(f"the provider of tokens cannot be asked: {_why(error)}") from None
        if status >= 500 or status == 429:
            raise SecretError(f"the provider of tokens answers with status {status}")
        if status not in (200, 400, 401, 403):
            what = f"the provider of tokens answers with status {status}: see {key}"
            raise SecretError(what, temper=Temper.GIVE_UP)
        return octets.decode("utf-8", "replace")

    def _client(self) -> WebApplicationClient:
        return WebApplicationClient(self._application.client_id)  # a new one, for it keeps what it reads

    def _identity(self) -> dict[str, str]:
        return {"client_id": self._application.client_id, **self._secret()}

    def _secret(self) -> dict[str, str]:
        secret = self._application.client_secret
        return {"client_secret": secret} if secret is not None else {}


def _parsed(text: str) -> dict[str, Any]:
    """Return what is granted; ProviderError with what speaks against it."""
    try:
        return dict(WebApplicationClient("").parse_request_body_response(text))
    except OAuth2Error as error:
        if error.error in ("missing_token", "missing_token_type"):  # NOTE: it may be no text
            _not_understood("token_url")
        raise _refused(error) from None
    except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError):
        _not_understood("token_url")


def _as_object(text: str) -> dict[str, Any]:
    """Return the JSON object of an answer that is none of tokens; ProviderError where it tells of an error."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        _not_understood("device_url")
    if (code := told.get("error")) is not None:
        raise ProviderError(_word(code), str(told.get("error_description") or ""))
    return told


def _refused(error: OAuth2Error) -> ProviderError:
    return ProviderError(_word(error.error), str(error.description or ""))


def _word(code: object) -> str:
    """Return the code of an error as it may be shown: it is a word, or else anything."""
    return code if isinstance(code, str) and _CODE.fullmatch(code) else "of an unknown kind"


def _not_understood(key: str) -> NoReturn:
    # NOTE: without a cause: errors hold what was read.
    raise SecretError(f"the provider of tokens answers what is not understood: see {key}") from None


def _seconds(told: object, default: float, *, least: float, most: float) -> float:
    """Return a time that a provider told, within bounds; the default where it told none."""
    try:
        seconds = default if told is None or isinstance(told, bool) else float(str(told))
    except ValueError:
        seconds = default
    return min(max(seconds, least), most) if isfinite(seconds) else default


def _is_sendable(text: str) -> bool:
    """Tell whether a text can be sent and shown as it is: JSON may have halves of characters."""
    return bool(text) and text.isprintable()


def _why(error: Exception) -> str:
    """Return why no answer came, without what a library says of it, which has addresses."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return why_unreachable(cause) if isinstance(cause, OSError) else "the connection was lost"
