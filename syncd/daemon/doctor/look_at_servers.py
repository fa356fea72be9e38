"""Floor 5: look at the servers of accounts: connect as the daemon does, at once and by a deadline; log in if wanted."""

import asyncio
import signal
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from syncd.config.accounts import ImapConfig, Pop3Config
from syncd.config.model import Config, StoreConfig
from syncd.config.oauth import application_of
from syncd.daemon.doctor.facts import ServerFacts, Trouble
from syncd.daemon.serving.access import NOBODY, Access, TokenEndedError
from syncd.daemon.serving.passwords import Password
from syncd.daemon.status.remedies import NO_PROOF, NOT_OFFERED, OF_OWN_CERTIFICATE
from syncd.errors import (
    LoginRefusedError,
    NoAccessError,
    OwnCertificateError,
    PinError,
    RefusedError,
    SecretError,
    StoreError,
    SyncdError,
    TooSlowError,
    TrustError,
    UnreachableError,
    text_of,
)
from syncd.hosts import is_loopback
from syncd.sasl.mechanisms import Secret
from syncd.store.engine.database import Database
from syncd.store.trees import accounts
from syncd.tls import fingerprint_of
from syncd.values import replace

_AT_ONCE = 32
_OF_CERTIFICATES = {
    9: Trouble.NOT_YET,
    10: Trouble.EXPIRED,
    18: Trouble.UNKNOWN_AUTHORITY,
    19: Trouble.UNKNOWN_AUTHORITY,
    20: Trouble.UNKNOWN_AUTHORITY,
    21: Trouble.UNKNOWN_AUTHORITY,
    62: Trouble.OTHER_NAME,
    64: Trouble.OTHER_NAME,
}
"""By the codes of OpenSSL (X509_V_ERR_...)."""


def look_at_servers(config: Config, *, logs_in: bool, deadline_s: float) -> tuple[ServerFacts, ...]:
    """Return how the servers of all accounts are, in the order of the file; who is not done in time was too slow."""
    loop = asyncio.new_event_loop()
    looking = loop.create_task(_look(config, logs_in=logs_in, deadline_s=deadline_s))
    try:
        if threading.current_thread() is threading.main_thread():
            # NOTE: else Ctrl-C is raised amid whatever task runs, and asyncio complains of all of them.
            loop.add_signal_handler(signal.SIGINT, looking.cancel)
        return loop.run_until_complete(looking)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        loop.close()  # NOTE: unlike asyncio.run, this does not wait for names that are still being looked up


async def _look(config: Config, *, logs_in: bool, deadline_s: float) -> tuple[ServerFacts, ...]:
    visits = {name: _Visit(name, account, config.store) for name, account in config.accounts.items()}
    turns = asyncio.Semaphore(_AT_ONCE)

    async def take_turn(visit: _Visit) -> None:
        async with turns:
            await visit.make(logs_in=logs_in)

    tasks = {asyncio.create_task(take_turn(visit)): visit for visit in visits.values()}
    late: set[asyncio.Task[None]] = set()
    try:
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=deadline_s)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in late:
        tasks[task].fail(TooSlowError(f"no answer within {deadline_s:g} s"))
    return tuple(visit.facts for visit in visits.values())


class _Visit:
    """Visit the server of one account; `facts` is what was seen so far."""

    def __init__(self, name: str, account: ImapConfig | Pop3Config, store: StoreConfig) -> None:
        self._name = name
        self._account = account
        self._store = store
        self.facts = ServerFacts(
            name,
            account.type,
            account.host,
            account.port,
            account.tls.value,
            is_loopback=is_loopback(account.host),
            login_key=account.login_key,
            provider=account.provider,
        )

    async def make(self, *, logs_in: bool) -> None:
        """See as much as the server shows; who has no password for it logs in nowhere."""
        account = self._account
        logs_in = logs_in and account.can_log_in
        try:
            if isinstance(account, ImapConfig):
                await self._imap(account, logs_in=logs_in)
            else:
                await self._pop3(account, logs_in=logs_in)
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Note why no more could be seen."""
        text = str(error) if isinstance(error, SyncdError) else text_of(error)
        self.facts = replace(self.facts, error=text, trouble=trouble_of(error))

    async def _imap(self, account: ImapConfig, *, logs_in: bool) -> None:
        from syncd.imap.connection import ImapConnection  # noqa: PLC0415  # each half only where there is such an account
        from syncd.sync.imap.account import endpoint_of  # noqa: PLC0415

        connection = await ImapConnection.open(endpoint_of(account))
        try:
            self._encrypted(connection.encryption)
            if logs_in:
                async with self._secret() as secret:
                    await connection.login(account.username, secret)
                self.facts = replace(self.facts, capabilities=connection.capabilities)
            await connection.logout()
        finally:
            await connection.aclose()

    async def _pop3(self, account: Pop3Config, *, logs_in: bool) -> None:
        from syncd.pop3.connection import Connection  # noqa: PLC0415
        from syncd.sync.pop3.account import endpoint_of  # noqa: PLC0415

        async with await Connection.open(await endpoint_of(account)) as connection:
            self._encrypted(connection.encryption)
            if logs_in:
                async with self._secret() as secret:
                    await connection.login(account.username, secret)
                self.facts = replace(self.facts, capabilities=connection.capabilities)
            await connection.quit()

    @asynccontextmanager
    async def _secret(self) -> AsyncIterator[Secret]:
        """Yield what the daemon would log in with, but for a token that it would renew first."""
        account, store = self._account, self._store
        if account.oauth is None:
            async with Password(account)() as secret:
                yield secret
            return
        if store.sqlite_path is not None and not store.sqlite_path.exists():
            raise NoAccessError(NOBODY)
        try:
            db = await asyncio.to_thread(Database.open_readonly, store.url.get_secret_value())
        except StoreError as error:
            raise SecretError(f"what was granted cannot be read: {error}") from error
        try:
            account_id = await db.read(partial(accounts.id_of, name=self._name))
            if account_id is None:
                raise NoAccessError(NOBODY)
            access = Access(
                application_of(account),
                db,
                account_id=account_id,
                key_file=lambda: store.key_path,
                clock=time.time,
                renews=False,
            )
            async with Password(account, access)() as secret:
                yield secret
        finally:
            await asyncio.to_thread(db.close)

    def _encrypted(self, encryption: ssl.SSLObject | None) -> None:
        if encryption is None:
            return
        certificate = encryption.getpeercert(binary_form=True) or b""
        self.facts = replace(
            self.facts,
            protocol=encryption.version() or "TLS",
            valid_until=_end_of(certificate),
            fingerprint=fingerprint_of(certificate),
            is_pinned=self._account.pin_sha256 is not None,
        )


def _end_of(certificate: bytes) -> float | None:
    """Return when a certificate ends; None for one that nobody can read: if it is pinned, it need not be read."""
    from cryptography import x509  # noqa: PLC0415  # heavy, and only those who are asked how it is need it

    try:
        return x509.load_der_x509_certificate(certificate).not_valid_after_utc.timestamp()
    except ValueError:
        return None


def trouble_of(error: BaseException) -> Trouble:
    """Return what kind of trouble an error of a connection is."""
    cause = error.__cause__
    match error:
        case PinError():
            return Trouble.PIN
        case OwnCertificateError():
            return Trouble.OWN_CERTIFICATE
        case TrustError() if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLCertVerificationError):
            return Trouble.CA_FILE
        case TrustError() if str(error).startswith(NO_PROOF):
            return Trouble.PROOF
        case TrustError() if str(error).startswith(NOT_OFFERED):
            return Trouble.TLS
        case TrustError():
            code = cause.verify_code if isinstance(cause, ssl.SSLCertVerificationError) else None
            return _OF_CERTIFICATES.get(code, Trouble.TRUST) if code is not None else Trouble.TRUST
        case SecretError() if str(error).startswith(OF_OWN_CERTIFICATE):
            return Trouble.OWN_CERTIFICATE_FILE
        case TokenEndedError():
            return Trouble.TOKEN_ENDED
        case NoAccessError():
            return Trouble.NO_TOKEN
        case SecretError():
            return Trouble.PASSWORD
        case LoginRefusedError():
            return Trouble.LOGIN
        case RefusedError(code="IN-USE"):
            return Trouble.BUSY
        case TooSlowError():
            return Trouble.SLOW
        case UnreachableError() if isinstance(cause, socket.gaierror):
            return Trouble.NAME
        case UnreachableError():
            return Trouble.TLS if isinstance(cause, ssl.SSLError) else Trouble.ROUTE
    return Trouble.OTHER
