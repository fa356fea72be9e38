"""Tokens for the logins of an account: of a real store and a provider that ends what an access was renewed with."""

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from syncd.config.accounts import ImapConfig
from syncd.config.oauth import application_of
from syncd.daemon.people.answers import LoginRequest
from syncd.daemon.people.logins import keep_grant
from syncd.daemon.serving.access import Access, TokenEndedError
from syncd.errors import NoAccessError
from syncd.oauth.grants import Grant
from syncd.oauth.provider import Provider
from syncd.store.engine.database import Database
from syncd.store.trees import accounts
from syncd.values import replace
from tests.servers.authority import Authority
from tests.unit.config.builders import LAPTOP, reading
from tests.unit.imap.scripted import until


class House:
    """Have one account with access to be granted, and the store of it."""

    def __init__(self, directory: Path, authority: Authority, db: Database) -> None:
        oauth = f'client_id = "{authority.client_id}", token_url = "{authority.token_url}", scopes = ["mail"]'
        oauth = f'oauth = {{ {oauth}, device_url = "{authority.device_url}" }}'
        text = f'[accounts.work]\ntype = "imap"\nhost = "imap.example.org"\nusername = "ana"\n{oauth}\n{LAPTOP}'
        text += f'[store]\nurl = "sqlite:///{directory}/syncd.db"\n'
        self.config = reading(directory, text).config
        self.authority = authority
        self.db = db

    @property
    def account(self) -> ImapConfig:
        account = self.config.accounts["work"]
        assert isinstance(account, ImapConfig)
        return account

    async def log_in(self) -> None:
        provider = Provider(application_of(self.account), least_step_s=0.01)
        code = await provider.device_code()
        self.authority.approve(code.user_code, "ana")
        await self.keep(await provider.of_device(code))

    async def keep(self, grant: Grant) -> None:
        wanted = LoginRequest("work", self.authority.client_id, self.authority.token_url, False, grant.as_text())
        assert await keep_grant(self.db, self.config, wanted, now=time.time())

    async def access(self, *, renews: bool = True) -> Access:
        account_id = await self.db.read(partial(accounts.id_of, name="work"))
        key_file = self.config.store.key_path
        assert account_id is not None
        assert key_file is not None
        of = {"account_id": account_id, "key_file": lambda: key_file, "clock": time.time}
        return Access(application_of(self.account), self.db, **of, renews=renews)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Database]:
    with Database.open(f"sqlite:///{tmp_path}/syncd.db") as db:
        yield db


@pytest.fixture
async def house(tmp_path: Path, authority: Authority, store: Database) -> House:
    house = House(tmp_path, authority, store)
    await house.log_in()
    return house


async def test_logins_at_once_share_one_renewal(house: House) -> None:
    """An account has more than one connection; what it renews with is good for one time."""
    house.authority.announces_expiry = False
    await house.log_in()
    house.authority.announces_expiry = True
    access = await house.access()

    tokens = await asyncio.gather(*(access.token(is_refused=False) for _ in range(5)))

    assert len(set(tokens)) == 1
    assert house.authority.refreshes == 1


@pytest.mark.parametrize("is_edited", [False, True])
async def test_renewal_that_nobody_waits_for_any_more_loses_nothing(house: House, is_edited: bool) -> None:
    """The provider has ended what was before: the next login waits for the answer, after an edit as well."""
    access = await house.access()
    house.authority.answers_renewals.clear()
    asking = asyncio.create_task(access.token(is_refused=True))
    await until(lambda: house.authority.refreshes == 1)

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    if is_edited:
        access.application = replace(access.application, scopes=("mail", "other"))
    again = asyncio.create_task(access.token(is_refused=False))
    await asyncio.sleep(0)
    house.authority.answers_renewals.set()

    assert await again in house.authority.issued
    assert house.authority.refreshes == 1
    assert await access.token(is_refused=True)  # strict providers end the grant at a second use
    assert house.authority.refreshes == 2


async def test_login_of_a_person_in_the_middle_of_a_renewal_stays(house: House) -> None:
    """What comes of the access before is for the login that waited for it, and no more."""
    access = await house.access()
    house.authority.answers_renewals.clear()
    asking = asyncio.create_task(access.token(is_refused=True))
    await until(lambda: house.authority.refreshes == 1)
    fresh = Grant(house.authority.client_id, house.authority.token_url, "refresh", "fresh", time.time() + 3600)
    await house.keep(fresh)
    house.authority.answers_renewals.set()

    assert await asking in house.authority.issued
    assert await access.token(is_refused=False) == "fresh"


async def test_who_only_looks_renews_nothing(house: House) -> None:
    """The store is another's: a token is used as long as it is good, and then there is none."""
    looking = await house.access(renews=False)
    assert await looking.token(is_refused=False) == await looking.token(is_refused=True)

    house.authority.announces_expiry = False
    await house.log_in()

    with pytest.raises(TokenEndedError):
        await looking.token(is_refused=False)
    assert house.authority.refreshes == 0


async def test_access_of_another_application_is_none(house: House, tmp_path: Path, store: Database) -> None:
    """Its provider would refuse it; a person logs in again, and it goes on."""
    house.authority.client_id = "another"
    other = House(tmp_path, house.authority, store)

    with pytest.raises(NoAccessError, match="to another client_id, or by another provider"):
        await (await other.access()).token(is_refused=False)
    await other.log_in()
    assert await (await other.access()).token(is_refused=False)


async def test_provider_of_another_address_is_told_nothing(house: House) -> None:
    """An edit of the address does not send what the one before gave there."""
    access = await house.access()
    elsewhere = replace(access.application, token_url=f"{house.authority.token_url}/other")
    of = {"account_id": 1, "key_file": lambda: house.config.store.key_path, "clock": time.time}

    with pytest.raises(NoAccessError, match="by another provider"):
        await Access(elsewhere, house.db, **of, renews=True).token(is_refused=True)

    assert house.authority.asked.count("refresh_token") == 0


async def test_access_that_ends_is_asked_for_once_for_each_login(house: House) -> None:
    """No login asks a provider again and again."""
    house.authority.revoke()
    access = await house.access()

    for _ in range(2):
        with pytest.raises(NoAccessError, match="invalid_grant"):
            await access.token(is_refused=True)

    assert house.authority.asked.count("refresh_token") == 2
