"""A certificate that is pinned, on a real server: it alone is trusted, and whoever signed another does not matter."""

from collections.abc import Callable
from pathlib import Path

import pytest

from syncd.errors import PinError, TrustError
from tests.contract.trust.conftest import MakeAccount, log_in
from tests.servers.certificates import fingerprint
from tests.servers.dovecot import Dovecot

MakeDovecot = Callable[..., Dovecot]


async def test_pinned_certificate_is_trusted_without_its_authority(
    dovecot: Dovecot, mail_user: str, make_account: MakeAccount
) -> None:
    """Nobody has to install an authority for a server at home."""
    pin = fingerprint(dovecot.certificate_file)

    with pytest.raises(TrustError, match="not trusted"):
        await log_in(make_account(dovecot, mail_user, password=dovecot.password))
    await log_in(make_account(dovecot, mail_user, password=dovecot.password, pin_sha256=pin))


async def test_self_signed_expired_certificate_of_another_name_is_trusted_if_it_is_pinned(
    make_dovecot: MakeDovecot, make_account: MakeAccount
) -> None:
    """Names, dates and signatures do not count: it is that very certificate."""
    server = make_dovecot(self_signed_for="nas.home.arpa")

    await log_in(make_account(server, "ana", password=server.password, pin_sha256=fingerprint(server.certificate_file)))


async def test_another_certificate_is_sent_nothing(
    dovecot: Dovecot, mail_user: str, make_account: MakeAccount, tmp_path: Path
) -> None:
    """Not even of a trusted authority, under the right name. The password is not asked for; what to do is said."""
    asked = tmp_path / "asked"
    command = ["sh", "-c", f"touch {asked}; echo {dovecot.password}"]
    pin, came = "ab" * 32, fingerprint(dovecot.certificate_file)

    with pytest.raises(PinError) as error:
        await log_in(make_account(dovecot, mail_user, password_command=command, pin_sha256=pin))

    assert str(error.value) == (
        f"the server's certificate is not the pinned one: expected {pin}, came {came};"
        " if whoever runs the server says that this is its new one, set pin_sha256 to it"
    )
    assert not asked.exists()
    log = dovecot.log_file.read_text()
    assert f"user=<{mail_user}>" not in log


async def test_renewed_certificate_is_another_one_until_it_is_pinned(
    make_dovecot: MakeDovecot, make_account: MakeAccount
) -> None:
    """The price of a pin: who renews the certificate says so here."""
    server = make_dovecot()
    old = fingerprint(server.certificate_file)
    await log_in(make_account(server, "ana", password=server.password, pin_sha256=old))

    server.renew_certificate()

    with pytest.raises(PinError, match=f"expected {old}"):
        await log_in(make_account(server, "ana", password=server.password, pin_sha256=old))
    new = fingerprint(server.certificate_file)
    await log_in(make_account(server, "ana", password=server.password, pin_sha256=new))
