"""The fake provider of OAuth gives tokens to who asks rightly, and refuses everybody else, as a real one does."""

import base64
import hashlib
import json
import ssl
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from tests.servers.authority import DEVICE_CODE, Authority
from tests.servers.tokens import TokenProvider

REDIRECT = "http://127.0.0.1:8123/back"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def authority() -> Iterator[Authority]:
    with TokenProvider() as tokens, Authority(tokens) as authority:
        yield authority


def post(authority: Authority, url: str, **form: str) -> tuple[int, dict[str, Any]]:
    """Return the status and the JSON that a form brings."""
    trusting = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(authority.ca_file)))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), trusting)
    body = urlencode({"client_id": authority.client_id, **form}).encode()
    try:
        with opener.open(url, body, timeout=10) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def url_of(authority: Authority, **changes: str) -> str:
    """Return an authorization URL with nothing wrong but what is changed."""
    asked = {
        "response_type": "code",
        "client_id": authority.client_id,
        "redirect_uri": REDIRECT,
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "state": "a state&more",
        "scope": "mail offline",
    }
    return f"{authority.authorization_url}?{urlencode({**asked, **changes})}"


def by_code(authority: Authority, code: str = "", **changes: str) -> tuple[int, dict[str, Any]]:
    """Return what a code brings: this one, or else that of a person who is asked for it."""
    if not code:
        code = dict(parse_qsl(urlsplit(authority.consent(url_of(authority), "ana")).query))["code"]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "code_verifier": VERIFIER}
    return post(authority, authority.token_url, **{**form, **changes})


def by_device(authority: Authority, device_code: str) -> tuple[int, dict[str, Any]]:
    return post(authority, authority.token_url, grant_type=DEVICE_CODE, device_code=device_code)


def by_refresh(authority: Authority, token: str, **more: str) -> tuple[int, dict[str, Any]]:
    return post(authority, authority.token_url, grant_type="refresh_token", refresh_token=token, **more)


def error(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    """Return how a request was refused."""
    assert answer[1]["error_description"]
    return answer[0], answer[1]["error"]


def claims(token: str) -> dict[str, Any]:
    """Return what a token says."""
    claimed: dict[str, Any] = json.loads(base64.urlsafe_b64decode(f"{token.split('.')[1]}=="))
    return claimed


def test_code_brings_tokens_of_who_consented(authority: Authority) -> None:
    """A person consents, and the program that began has tokens of that person, which live as long as they say."""
    back = authority.consent(url_of(authority), "ana")
    given = dict(parse_qsl(urlsplit(back).query))
    authority.expires_in_s = 77
    status, tokens = by_code(authority, given["code"])

    assert back.startswith(f"{REDIRECT}?")
    assert given["state"] == "a state&more"
    assert (status, tokens["token_type"], tokens["expires_in"], tokens["scope"]) == (200, "Bearer", 77, "mail offline")
    said = claims(tokens["access_token"])
    assert said["sub"] == "ana"
    assert said["exp"] - said["iat"] - 2 * 3600 == 77
    assert {given["code"], tokens["access_token"], tokens["refresh_token"]} == set(authority.issued)
    assert dict(parse_qsl(urlsplit(authority.deny(url_of(authority))).query)) == {
        "error": "access_denied",
        "state": "a state&more",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("response_type", "token"),
        ("client_id", "another"),
        ("redirect_uri", "https://127.0.0.1/"),
        ("redirect_uri", "http://127.0.0.1.example.org/"),
        ("redirect_uri", "http://localhost@example.org/"),
        ("redirect_uri", "http://localhost:port/"),
        ("code_challenge_method", "plain"),
        ("code_challenge", f"{CHALLENGE}="),
        ("state", ""),
        ("scope", " "),
    ],
)
def test_nobody_is_asked_to_consent_to_a_wrong_request(authority: Authority, name: str, value: str) -> None:
    """Whatever is wrong in an authorization URL is named, and there is no code."""
    with pytest.raises(AssertionError, match=f"Wrong or missing: {name}$"):
        authority.consent(url_of(authority, **{name: value}), "ana")

    assert not authority.issued


@pytest.mark.parametrize(
    ("name", "value", "refused"),
    [
        ("code_verifier", "w" * 43, (400, "invalid_grant")),
        ("code_verifier", CHALLENGE, (400, "invalid_grant")),
        ("code_verifier", "", (400, "invalid_request")),
        ("redirect_uri", f"{REDIRECT}/", (400, "invalid_grant")),
        ("client_id", "another", (401, "invalid_client")),
        ("client_secret", "of a public client", (401, "invalid_client")),
        ("grant_type", "password", (400, "unsupported_grant_type")),
    ],
)
def test_code_is_worth_nothing_to_others(authority: Authority, name: str, value: str, refused: tuple[int, str]) -> None:
    """Who has the code, and not all else of the program that began, has no token."""
    assert error(by_code(authority, **{name: value})) == refused


def test_code_is_for_one_use(authority: Authority) -> None:
    """A code that comes twice was stolen: it brings nothing, and what it brought before is dead."""
    code = dict(parse_qsl(urlsplit(authority.consent(url_of(authority), "ana")).query))["code"]
    _, tokens = by_code(authority, code)

    assert error(by_code(authority, code)) == (400, "invalid_grant")
    assert error(by_refresh(authority, tokens["refresh_token"])) == (400, "invalid_grant")


def test_device_has_tokens_once_the_person_approves(authority: Authority) -> None:
    """A device polls until a person has typed its code, and has tokens once, or learns of a refusal or of the end."""
    authority.interval_s = 0
    begun = [post(authority, authority.device_url, scope="mail")[1] for _ in range(2)]
    codes = [one["device_code"] for one in begun]

    assert error(by_device(authority, codes[0])) == (400, "authorization_pending")
    authority.approve(begun[0]["user_code"], "ana")
    authority.refuse(begun[1]["user_code"])
    status, tokens = by_device(authority, codes[0])
    assert (status, claims(tokens["access_token"])["sub"], tokens["scope"]) == (200, "ana", "mail")
    assert error(by_device(authority, codes[0])) == (400, "invalid_grant")
    assert error(by_device(authority, codes[1])) == (400, "access_denied")
    authority.device_expires_in_s = 0
    late = post(authority, authority.device_url, scope="mail")[1]
    assert error(by_device(authority, late["device_code"])) == (400, "expired_token")


def test_device_that_polls_too_fast_has_to_slow_down(authority: Authority) -> None:
    """Who does not wait has to wait longer each time, and has no tokens meanwhile, though the person approved."""
    assert authority.interval_s == 1
    authority.interval_s = 60
    begun = post(authority, authority.device_url, scope="mail")[1]
    answers = [by_device(authority, begun["device_code"]) for _ in range(2)]
    authority.approve(begun["user_code"], "ana")
    answers.append(by_device(authority, begun["device_code"]))

    assert begun["interval"] == 60
    assert [one[1]["error"] for one in answers] == ["authorization_pending", "slow_down", "slow_down"]
    assert [one[1]["error_description"] for one in answers[1:]] == ["poll every 65 s", "poll every 70 s"]


def test_refresh_token_is_dead_once_it_was_used(authority: Authority) -> None:
    """Each refresh brings another refresh token; one that comes again was stolen, and takes its successors along."""
    first = by_code(authority)[1]["refresh_token"]
    status, tokens = by_refresh(authority, first)

    assert (status, authority.refreshes) == (200, 1)
    assert error(by_refresh(authority, tokens["refresh_token"], scope="mail more")) == (400, "invalid_scope")
    assert error(by_refresh(authority, first)) == (400, "invalid_grant")
    assert error(by_refresh(authority, tokens["refresh_token"])) == (400, "invalid_grant")
    assert authority.refreshes == 1


def test_refresh_token_that_does_not_rotate_stays_until_it_is_revoked(authority: Authority) -> None:
    """A provider that does not rotate repeats no refresh token, and takes the one there is until the person ends it."""
    authority.rotates = False
    token = by_code(authority)[1]["refresh_token"]

    assert ["refresh_token" in by_refresh(authority, token)[1] for _ in range(2)] == [False, False]
    authority.revoke()
    assert error(by_refresh(authority, token)) == (400, "invalid_grant")


def test_provider_can_keep_things_back_and_fail(authority: Authority) -> None:
    """What providers may leave out they leave out, and who is down uses up nothing of what was asked."""
    authority.announces_expiry = authority.gives_refresh_token = False
    authority.client_secret = "confidential"
    code = dict(parse_qsl(urlsplit(authority.consent(url_of(authority), "ana")).query))["code"]

    authority.failure = (503, '{"later": true}')
    assert by_code(authority, code, client_secret="confidential") == (503, {"later": True})
    authority.failure = None
    assert error(by_code(authority, code)) == (401, "invalid_client")
    assert by_code(authority, code, client_secret="confidential")[1].keys() == {"access_token", "token_type", "scope"}
    assert authority.asked == ["authorization_code"] * 3
