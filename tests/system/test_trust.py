"""One certificate alone, and one of ours: the daemon and the doctor on real servers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.servers.certificates import fingerprint, write_client_certificate
from tests.servers.daemon import Daemon, wait_until
from tests.servers.dovecot import Dovecot
from tests.system.mail import deliver, files, imap_account, pop3_account
from tests.system.test_cli_doctor import examined, of

MakeDaemon = Callable[..., Daemon]
MakeDovecot = Callable[..., Dovecot]


def secured(server: Dovecot, user: str, kind: str, **keys: object) -> dict[str, object]:
    """Return an account over TLS, IMAP from the beginning and POP3 by STLS."""
    if kind == "imap":
        return imap_account(server, user, tls="implicit", port=server.imaps_port, **keys)
    return pop3_account(server, user, tls="starttls", **keys)


def by_certificate(account: dict[str, object], file: Path) -> dict[str, object]:
    """Return an account without its password."""
    return {key: value for key, value in account.items() if key != "password"} | {"client_cert": str(file)}


def test_server_at_home_is_synced_by_pin_and_certificate(
    make_dovecot: MakeDovecot, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Signed by nobody, under another name, out of date, and no password anywhere: mail comes, by both protocols."""
    server = make_dovecot(self_signed_for="nas.home.arpa", client_certificates="taken")
    pin = fingerprint(server.certificate_file)
    accounts: dict[str, object] = {}
    for kind, user in (("imap", "ana"), ("pop3", "bo")):
        deliver(server, user, 2)
        file = write_client_certificate(tmp_path / f"{user}.pem", user, by=server.ca_directory)
        accounts[kind] = by_certificate(secured(server, user, kind, pin_sha256=pin), file)

    daemon = make_daemon(accounts, devices=("laptop",))
    ended = daemon.syncd("sync")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert [len(files(tmp_path / "laptop", f"{kind}.INBOX")) for kind in ("imap", "pop3")] == [2, 2]


def test_renewed_certificate_stops_the_account_until_its_pin_is_set(
    make_dovecot: MakeDovecot, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Status says what was expected, what came and what to do; the edit counts at once, and mail goes on."""
    server = make_dovecot()
    old = fingerprint(server.certificate_file)
    server.renew_certificate()
    new = fingerprint(server.certificate_file)
    kinds = ("imap", "pop3")
    for kind in kinds:
        deliver(server, kind, 1)

    def config(pin: str) -> dict[str, Any]:
        accounts = {kind: secured(server, kind, kind, pin_sha256=pin) for kind in kinds}
        return {"accounts": accounts, "devices": {"laptop": {"path": str(tmp_path / "laptop")}}}

    daemon = make_daemon(config(old)["accounts"], devices=("laptop",))
    with daemon:
        wait_until(lambda: all(daemon.account(kind)["error"] for kind in kinds), 60, "both are refused")
        told = [daemon.account(kind)["error"] for kind in kinds]
        shown = daemon.syncd("status").stdout
        daemon.configure(config(new))
        daemon.syncd("reload")
        wait_until(
            lambda: all(len(files(tmp_path / "laptop", f"{kind}.INBOX")) == 1 for kind in kinds), 60, "mail came"
        )

    assert all(f"not the pinned one: expected {old}, came {new}; if whoever" in error for error in told)
    remedy = "compare with what whoever runs the server says, then set pin_sha256 of [accounts.imap]"
    assert remedy in " ".join(shown.split())


def test_doctor_shows_fingerprints_and_what_a_pin_or_a_key_lacks(
    make_dovecot: MakeDovecot, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Dates of a pinned certificate are told and no trouble; another one is, and so is a key that others can read."""
    server = make_dovecot(self_signed_for="nas.home.arpa", client_certificates="taken")
    pin = fingerprint(server.certificate_file)
    open_file = write_client_certificate(tmp_path / "ana.pem", "ana", by=server.ca_directory)
    open_file.chmod(0o644)
    accounts = {
        "pinned": secured(server, "ana", "imap", pin_sha256=pin, client_cert=str(open_file)),
        "isp": secured(server, "bo", "pop3", pin_sha256="00" * 32),
        "none": by_certificate(secured(server, "cy", "imap", pin_sha256=pin), tmp_path / "none.pem"),
    }
    daemon = make_daemon(accounts)

    code, answer = examined(daemon, "--login")

    pinned, isp = of(answer, "certificate")
    assert code == 1
    assert (pinned["level"], isp["level"]) == ("ok", "error")
    assert "its certificate is the pinned one, and valid until" in pinned["what"]
    assert pinned["what"].endswith(f"SHA-256 {pin}")
    assert f"came {pin}" in isp["what"]
    assert "set pin_sha256 of accounts.isp to it" in isp["remedy"]
    (rights,) = of(answer, "secret_rights")
    (missing,) = of(answer, "secret_missing")
    assert (rights["level"], rights["what"]) == ("warning", "every user can read the key")
    assert missing["where"] == f"accounts.none.client_cert: {tmp_path}/none.pem"
    assert "the file of client_cert cannot be used" in of(answer, "login")[0]["what"]
