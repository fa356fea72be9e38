"""A certificate of our own, shown to a real server: alone it logs in, beside a password both have to be right."""

from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from syncd.errors import LoginRefusedError, SecretError
from tests.contract.trust.conftest import MakeAccount, log_in
from tests.servers.certificates import fingerprint, write_certificates, write_client_certificate
from tests.servers.dovecot import Dovecot

MakeDovecot = Callable[..., Dovecot]


async def test_certificate_alone_logs_in(make_dovecot: MakeDovecot, make_account: MakeAccount, tmp_path: Path) -> None:
    """No password is anywhere; the server knows by its authority who we are."""
    server = make_dovecot(client_certificates="needed")
    ana = write_client_certificate(tmp_path / "ana.pem", "ana", by=server.ca_directory)

    await log_in(make_account(server, "ana", client_cert=ana, ca_file=server.ca_file))

    server.until_logged("user=<ana>, method=EXTERNAL")


async def test_certificate_of_somebody_else_is_refused(
    make_dovecot: MakeDovecot, make_account: MakeAccount, tmp_path: Path
) -> None:
    """Neither one of another authority, nor none: the password alone is not enough where both are needed."""
    server = make_dovecot(client_certificates="needed")
    strangers = tmp_path / "strangers"
    strangers.mkdir()
    write_certificates(strangers)
    forged = write_client_certificate(tmp_path / "forged.pem", "ana", by=strangers)

    for keys in ({"client_cert": forged}, {"password": server.password}):
        with pytest.raises(LoginRefusedError):
            await log_in(make_account(server, "ana", ca_file=server.ca_file, **keys))


async def test_certificate_beside_a_password_needs_both_right(
    make_dovecot: MakeDovecot, make_account: MakeAccount, tmp_path: Path
) -> None:
    """The certificate opens the door, the password is asked for behind it."""
    server = make_dovecot(client_certificates="needed")
    ana = write_client_certificate(tmp_path / "ana.pem", "ana", by=server.ca_directory)

    await log_in(make_account(server, "ana", client_cert=ana, password=server.password, ca_file=server.ca_file))

    server.until_logged("user=<ana>, method=PLAIN")
    assert "method=EXTERNAL" not in server.log_file.read_text()
    with pytest.raises(LoginRefusedError):
        await log_in(make_account(server, "ana", client_cert=ana, password="not-the-one", ca_file=server.ca_file))


async def test_server_without_external_says_so(
    dovecot: Dovecot, mail_user: str, make_account: MakeAccount, tmp_path: Path
) -> None:
    """A person learns that this server takes no certificates, and not that a password would be wrong."""
    ana = write_client_certificate(tmp_path / "ana.pem", mail_user, by=dovecot.ca_directory)

    with pytest.raises(LoginRefusedError) as error:
        await log_in(make_account(dovecot, mail_user, client_cert=ana, ca_file=dovecot.ca_file))

    assert str(error.value) == "the server offers no login by a certificate (SASL EXTERNAL)"


async def test_certificate_logs_in_at_a_pinned_server_and_one_that_is_renewed_counts_at_once(
    make_dovecot: MakeDovecot, make_account: MakeAccount, tmp_path: Path
) -> None:
    """The file is read at the next connection; while it is of no use nothing is said to the server."""
    server = make_dovecot(client_certificates="needed", self_signed_for="nas.home.arpa")
    file = tmp_path / "ana.pem"
    account = make_account(server, "ana", client_cert=file, pin_sha256=fingerprint(server.certificate_file))

    with pytest.raises(SecretError, match="the file of client_cert cannot be used: no such file"):
        await log_in(account)
    write_client_certificate(file, "ana", by=server.ca_directory)
    await log_in(account)


async def test_key_that_others_can_read_is_warned_of(
    make_dovecot: MakeDovecot, make_account: MakeAccount, tmp_path: Path
) -> None:
    """As a password file is: it goes on, and the log says it."""
    server = make_dovecot(client_certificates="taken")
    ana = write_client_certificate(tmp_path / "ana.pem", "ana", by=server.ca_directory)
    account = make_account(server, "ana", client_cert=ana, ca_file=server.ca_file)

    with capture_logs() as private:
        await log_in(account)
    ana.chmod(0o644)
    with capture_logs() as shared:
        await log_in(account)

    assert [line for line in private if line["log_level"] == "warning"] == []
    assert [line for line in shared if line["log_level"] == "warning"] == [
        {"event": "client_cert_found_world_readable", "path": str(ana), "log_level": "warning"}
    ]
