"""What a provider of OAuth is asked, and what is made of its answers: by HTTPS, of one that judges strictly."""

import asyncio
import errno
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from syncd.config.oauth import Application
from syncd.errors import SecretError, Temper
from syncd.oauth.browser import came_back
from syncd.oauth.grants import Grant
from syncd.oauth.provider import Provider, ProviderError, _seconds
from syncd.oauth.seal import sealed, unsealed
from tests.servers.authority import Authority
from tests.unit.config.builders import LAPTOP, problems
from tests.unit.imap.scripted import until

SOON_S = 30.0


def application(authority: Authority, **changes: object) -> Application:
    keys: dict[str, object] = {
        "client_id": authority.client_id,
        "client_secret": authority.client_secret,
        "token_url": authority.token_url,
        "device_url": authority.device_url,
        "authorization_url": authority.authorization_url,
        "scopes": ("mail", "offline_access"),
        "redirect_host": "127.0.0.1",
        "extra": {"prompt": "consent"},
    }
    return Application(**{**keys, **changes})


async def by_code(provider: Provider, authority: Authority) -> Grant:
    code = await provider.device_code()
    authority.approve(code.user_code, "ana")
    return await provider.of_device(code)


async def test_access_is_granted_by_a_code_and_renewed_again_and_again(authority: Authority) -> None:
    """Each time with what the last answer gave, though the provider ends what it was renewed with."""
    authority.client_secret = "of-the-application"
    provider = Provider(application(authority), least_step_s=0.01)
    grant = await by_code(provider, authority)

    tokens = {grant.access_token}
    for _ in range(3):
        grant = await provider.renewed(grant)
        tokens.add(grant.access_token)

    assert len(tokens) == 4
    assert grant.token_at(time.time()) == grant.access_token
    assert grant.token_at(time.time() + 3600 - 310) == grant.access_token
    assert grant.token_at(time.time() + 3600 - 299) is None


async def test_provider_that_keeps_its_token_is_asked_with_that_again(authority: Authority) -> None:
    """Not every provider gives another one to renew the access with."""
    authority.rotates = False
    provider = Provider(application(authority), least_step_s=0.01)
    first = await by_code(provider, authority)

    second = await provider.renewed(first)

    assert second.refresh_token == first.refresh_token
    assert second.access_token != first.access_token


async def test_token_whose_end_nobody_told_is_for_one_login(authority: Authority) -> None:
    """It may have ended by the next one."""
    authority.announces_expiry = False

    grant = await by_code(Provider(application(authority), least_step_s=0.01), authority)

    assert grant.token_at(time.time()) is None


async def test_who_asks_too_often_asks_more_seldom(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """By five seconds each time that the provider complains; one that is away for a moment is asked again as often."""
    answers = [(400, '{"error": "slow_down"}'), (503, "later"), (400, '{"error": "authorization_pending"}'), None]
    provider = Provider(application(authority), least_step_s=0.01)
    code = await provider.device_code()
    authority.approve(code.user_code, "ana")
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        authority.failure = answers.pop(0)

    monkeypatch.setattr("syncd.oauth.provider.asyncio.sleep", sleep)
    grant = await provider.of_device(code)

    assert grant.access_token
    assert [later - sooner for sooner, later in pairwise(slept)] == pytest.approx([5.0, 0.0, 0.0])


@pytest.mark.parametrize("error", ["temporarily_unavailable", "server_error"])
async def test_provider_with_too_much_to_do_is_asked_again(authority: Authority, error: str) -> None:
    """It says so in two ways; neither ends what a person is in the middle of."""
    provider = Provider(application(authority), least_step_s=0.01)
    code = await provider.device_code()
    authority.failure = (400, f'{{"error": "{error}"}}')
    granting = asyncio.create_task(provider.of_device(code))
    await until(lambda: len(authority.asked) == 2)
    authority.approve(code.user_code, "ana")
    authority.failure = None

    assert (await granting).access_token


async def test_code_that_nobody_enters_ends(authority: Authority) -> None:
    """Whoever waits is told so, and no longer than the code lives."""
    authority.device_expires_in_s = 1
    provider = Provider(application(authority), least_step_s=0.01)

    with pytest.raises(ProviderError, match="nobody granted the access in time"):
        async with asyncio.timeout(SOON_S):
            await provider.of_device(await provider.device_code())


async def test_provider_that_is_not_there_for_tokens_is_told_while_somebody_waits(authority: Authority) -> None:
    """A wrong address is not kept from the person until the code has ended, and then told as their delay."""
    there = Provider(application(authority), least_step_s=0.01)
    code = await there.device_code()
    authority.approve(code.user_code, "ana")
    elsewhere = application(authority, token_url="https://127.0.0.1:1/token")

    with pytest.raises(SecretError, match="cannot be asked: connection refused"):
        async with asyncio.timeout(SOON_S):
            await Provider(elsewhere, least_step_s=0.01).of_device(code)


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (None, 5.0),
        (7, 7.0),
        (7.5, 7.5),
        ("7", 7.0),
        (0, 1.0),
        (-3, 1.0),
        (10**400, 5.0),
        (float("nan"), 5.0),
        (float("inf"), 5.0),
        ("soon", 5.0),
        ([], 5.0),
        (True, 5.0),
        (1e9, 60.0),
    ],
)
def test_time_that_a_provider_tells_is_one_that_can_be_waited_for(told: object, seconds: float) -> None:
    """Whatever it says, nobody asks all the time, or never again."""
    assert _seconds(told, 5.0, least=1.0, most=60.0) == seconds


@pytest.mark.parametrize("token_url", ["https://a..b/", "https://h:99999/", f"https://{'a' * 64}.example.org/"])
async def test_address_that_is_none_is_told_by_its_key(authority: Authority, token_url: str) -> None:
    """It looks like one in the configuration, and no library's words for it are shown."""
    grant = Grant("app", token_url, "refresh", "access", 0.0)

    with pytest.raises(SecretError, match=r"token_url is no address|cannot be asked"):
        await Provider(application(authority, token_url=token_url)).renewed(grant)


async def test_browser_comes_back_with_what_proves_that_it_was_ours(authority: Authority) -> None:
    """To this machine alone; of other addresses nothing is sent to the provider."""
    addresses: asyncio.Queue[str] = asyncio.Queue()
    provider = Provider(application(authority), least_step_s=0.01)
    async with came_back(addresses) as redirect_url:
        asked = provider.authorization(redirect_url, "ana")
        came_to = await asyncio.to_thread(authority.consent, asked.url, "ana")
        for other in (
            "https://example.org/?code=x",
            f"{redirect_url}?code=x",
            came_to.replace("http:", "ftp:"),
            came_to.replace("http:", ""),
            came_to.replace("?", "0?"),
            "http://[::1",
            f"{redirect_url}?state={asked.state}",
            came_to.replace("state=", "state=x"),
        ):
            with pytest.raises(ValueError, match=r"that (is not the )?address"):
                await provider.of_browser(asked, other)
        assert authority.asked == []
        grant = await provider.of_browser(asked, f" {came_to.replace('?', '/?', 1)}\n")  # as browsers write it

    question = dict(parse_qsl(urlsplit(asked.url).query))
    assert question["login_hint"] == "ana"
    assert question["prompt"] == "consent"
    assert urlsplit(redirect_url).hostname == "127.0.0.1"
    assert grant.access_token


async def test_person_may_refuse(authority: Authority) -> None:
    """In a browser, or where a code is entered."""
    provider = Provider(application(authority), least_step_s=0.01)
    asked = provider.authorization("http://127.0.0.1:1/", "ana")
    refused = await asyncio.to_thread(authority.deny, asked.url)
    code = await provider.device_code()
    authority.refuse(code.user_code)

    with pytest.raises(ProviderError, match=r"the access was refused \(access_denied\)"):
        await provider.of_browser(asked, refused)
    with pytest.raises(ProviderError, match=r"the access was refused \(access_denied\)"):
        await provider.of_device(code)


@pytest.mark.parametrize(
    ("failure", "told", "temper"),
    [
        ((503, "later"), "the provider of tokens answers with status 503", Temper.WAIT),
        ((429, "later"), "the provider of tokens answers with status 429", Temper.WAIT),
        ((404, "nothing"), "the provider of tokens answers with status 404: see token_url", Temper.GIVE_UP),
        ((302, ""), "the provider of tokens answers with status 302: see token_url", Temper.GIVE_UP),
        ((200, "<html>"), "the provider of tokens answers what is not understood: see token_url", Temper.WAIT),
        ((200, "[1]"), "the provider of tokens answers what is not understood: see token_url", Temper.WAIT),
        ((200, '{"access_token": "two words"}'), "answers what is not understood: see token_url", Temper.WAIT),
        ((200, '{"access_token": 1}'), "answers what is not understood: see token_url", Temper.WAIT),
        ((200, "[" * 60_000), "answers what is not understood: see token_url", Temper.WAIT),
        ((200, '{"access_token": "x", "expires_in": 1e999}'), "answers what is not understood", Temper.WAIT),
        ((200, '{"access_token": "x", "refresh_token": "\\ud800"}'), "nothing to renew it with", Temper.GIVE_UP),
        ((400, '{"error": "server_error"}'), "the provider of tokens refuses (server_error)", Temper.WAIT),
        ((401, '{"error": "invalid_client"}'), "does not know this client_id, or not with", Temper.GIVE_UP),
        ((400, '{"error": "Who knows?"}'), "the provider of tokens refuses (of an unknown kind)", Temper.GIVE_UP),
        ((400, '{"error": ["x"]}'), "the provider of tokens refuses (of an unknown kind)", Temper.GIVE_UP),
        (
            (400, '{"error": "invalid_grant", "error_description": "AADSTS700082: ana@example.org, too late"}'),
            "the provider renews the access no more: it ran out, or was withdrawn (invalid_grant, AADSTS700082)",
            Temper.GIVE_UP,
        ),
    ],
)
async def test_what_is_answered_instead_of_a_token_is_told_in_our_words(
    authority: Authority, failure: tuple[int, str], told: str, temper: Temper
) -> None:
    """Whether waiting helps, too; nothing of an answer is in the error but words that are known."""
    provider = Provider(application(authority), least_step_s=0.01)
    grant = await by_code(provider, authority)
    authority.failure = failure

    with pytest.raises(SecretError) as caught:
        await provider.renewed(grant)

    assert told in str(caught.value)
    assert caught.value.temper is temper
    assert "example.org" not in str(caught.value)
    authority.failure = None
    assert await provider.renewed(grant)


async def test_grant_without_end_is_what_is_asked_for(authority: Authority) -> None:
    """One that ends with its first token is refused while a person is there, who can do something about it."""
    authority.gives_refresh_token = False

    with pytest.raises(SecretError, match="nothing to renew it with"):
        await by_code(Provider(application(authority), least_step_s=0.01), authority)


async def test_who_is_not_trusted_or_not_there_is_told_nothing(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has no address, and waiting may help."""
    provider = Provider(application(authority), least_step_s=0.01)
    grant = await by_code(provider, authority)
    asked = len(authority.asked)
    monkeypatch.delenv("SSL_CERT_FILE")

    with pytest.raises(SecretError, match="cannot be trusted") as untrusted:
        await provider.renewed(grant)
    with pytest.raises(SecretError, match="cannot be asked: connection refused") as nobody:
        await Provider(application(authority, token_url="https://127.0.0.1:1/token")).renewed(grant)

    assert {untrusted.value.temper, nobody.value.temper} == {Temper.WAIT}
    assert len(authority.asked) == asked


def test_what_is_sealed_is_read_with_its_key_alone(tmp_path: Path) -> None:
    """The key is made once, for its user alone; another one, or none, is told by its file."""
    grant = Grant("app", "https://h/t", "refresh-me", "access-me", 12.5)
    keys = [tmp_path / "one.key", tmp_path / "other.key"]
    texts = [sealed(grant, key) for key in keys]

    assert [unsealed(text, key) for text, key in zip(texts, keys, strict=True)] == [grant, grant]
    assert "me" not in repr(grant)
    assert all(key.stat().st_mode & 0o777 == 0o600 for key in keys)
    assert sorted(tmp_path.iterdir()) == keys
    assert unsealed(sealed(grant, keys[0]), keys[0]) == grant
    with pytest.raises(SecretError, match="is not the one with which the store was sealed"):
        unsealed(texts[0], keys[1])
    with pytest.raises(SecretError, match="is not there, with which the store was sealed"):
        unsealed(texts[0], tmp_path / "no.key")
    keys[1].write_text("what?")
    with pytest.raises(SecretError, match="is damaged: put it back, or remove it"):
        sealed(grant, keys[1])


def test_key_is_made_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on FAT; one that is there stays also then."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("syncd.oauth.seal.os.link", refuse)
    grant, key = Grant("app", "https://h/t", "refresh", "access", 1.0), tmp_path / "a.key"

    text = sealed(grant, key)
    sealed(grant, key)

    assert unsealed(text, key) == grant
    assert list(tmp_path.iterdir()) == [key]


def test_logins_that_make_the_key_at_once_share_it(tmp_path: Path) -> None:
    """Whoever is slower takes the one that is there: nothing is sealed with a key that nobody has."""
    grant = Grant("app", "https://h/t", "refresh", "access", 1.0)
    with ThreadPoolExecutor(4) as threads:
        for number in range(50):
            key = tmp_path / f"{number}.key"
            for text in list(threads.map(lambda _, key=key: sealed(grant, key), range(4))):
                assert unsealed(text, key) == grant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "[" * 50_000,
        '{"client_id": 1, "token_url": "", "refresh_token": "", "access_token": "", "usable_until": 1.0}',
        '{"client_id": "", "token_url": "", "refresh_token": "", "access_token": "", "usable_until": "soon"}',
        '{"client_id": "", "token_url": "", "refresh_token": "", "access_token": "", "usable_until": NaN}',
    ],
)
def test_what_is_no_grant_is_refused_without_its_words(text: str) -> None:
    """Whatever reaches the socket is not kept, and not told of."""
    with pytest.raises(ValueError, match="that is no grant"):
        Grant.from_text(text)


@pytest.mark.parametrize(
    ("oauth", "told"),
    [
        ('provider = "gmail"\noauth = { client_id = "x" }', ""),
        ('provider = "outlook"\noauth = { client_id = "x", tenant = "example.org" }', ""),
        (
            'host = "h"\noauth = { client_id = "x", token_url = "https://h", device_url = "https://h", scopes = ["m"]}',
            "",
        ),
        ('provider = "gmail"\noauth = { client_id = "x", tenant = "example.org" }', "tenant has no effect here"),
        ('host = "h"\noauth = { client_id = "x" }', "token_url, scopes, device_url or authorization_url: missing"),
        ('host = "h"\noauth = { client_id = "x", token_url = "http://h/t" }', "should be an address that begins with"),
        ('host = "h"\noauth = {}', "client_id: missing"),
        ('host = "h"\npassword = "x"\noauth = { client_id = "x" }', "password and oauth exclude each other"),
    ],
)
def test_application_that_cannot_be_asked_for_tokens_is_told_by_what_it_lacks(
    tmp_path: Path, oauth: str, told: str
) -> None:
    """A known provider says the rest; secrets go to nobody without encryption."""
    found = problems(tmp_path, f'[accounts.work]\ntype = "imap"\nusername = "ana"\n{oauth}\n{LAPTOP}')

    assert len(found) == bool(told), found
    assert told in "".join(found)
