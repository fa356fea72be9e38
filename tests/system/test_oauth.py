"""Access that a provider of OAuth grants: renewed by syncd as long as that goes, and of use to nobody else."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests.servers.authority import DEVICE_CODE, Authority
from tests.servers.daemon import Daemon, wait_until
from tests.servers.dovecot import Dovecot
from tests.system.granting import SOON_S, granted, log_in, trusting
from tests.system.mail import deliver, files, imap_account

MakeDaemon = Callable[..., Daemon]
REFUSED = "the provider renews the access no more: it ran out, or was withdrawn (invalid_grant)"


@pytest.mark.parametrize("rotates", [True, False])
def test_access_is_renewed_for_each_login_that_needs_it(
    token_server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path, rotates: bool
) -> None:
    """What it is renewed with next is in the store before it is used: daemons that are killed do not lose it."""
    authority.rotates = rotates
    authority.announces_expiry = False  # so each is for one login
    deliver(token_server, "ana", 1)
    work = granted(imap_account(token_server, "ana", max_connections=1), authority)
    daemon = make_daemon({"work": work}, ("laptop",), environment=trusting(authority), is_forked=True)
    log_in(daemon, authority, "work", "ana")

    for number in range(1, 4):
        daemon.start()
        wait_until(lambda number=number: len(files(tmp_path / "laptop", "work.INBOX")) == number, SOON_S, "mail comes")
        daemon.kill()
        deliver(token_server, "ana", 1, first=number)
    daemon.sync()

    assert len(files(tmp_path / "laptop", "work.INBOX")) == 4
    assert authority.refreshes == 4
    assert authority.asked == [DEVICE_CODE, *["refresh_token"] * 4]


def test_token_that_lives_on_is_used_again(
    token_server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """A cron job every minute asks no provider every minute."""
    work = granted(imap_account(token_server, "ana"), authority)
    daemon = make_daemon({"work": work}, ("laptop",), environment=trusting(authority), is_forked=True)
    log_in(daemon, authority, "work", "ana")

    for number in range(3):
        deliver(token_server, "ana", 1, first=number)
        daemon.sync()

    assert len(files(tmp_path / "laptop", "work.INBOX")) == 3
    assert authority.refreshes == 0


def test_token_that_the_server_refuses_is_followed_by_another_at_once(
    token_server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """It was withdrawn, or a clock is wrong: what is known of its end counts no more."""
    deliver(token_server, "ana", 1)
    work = granted(imap_account(token_server, "ana", max_connections=1), authority)
    daemon = make_daemon({"work": work}, ("laptop",), environment=trusting(authority), is_forked=True)
    log_in(daemon, authority, "work", "eve")  # Dovecot takes a token of eve for nobody else

    with daemon:
        wait_until(lambda: authority.refreshes == 1, SOON_S, "another one was asked for")
        wait_until(lambda: "does not help" in str(daemon.account("work")["error"]), SOON_S, "it is given up")
        refused = daemon.account("work")
        log_in(daemon, authority, "work", "ana")
        wait_until(lambda: len(files(tmp_path / "laptop", "work.INBOX")) == 1, SOON_S, "the mail comes")

    assert refused["cause"] == "login_refused"
    assert refused["remedy"].startswith("check username of [accounts.work], and log in as that one: syncd auth login")
    assert authority.refreshes == 1


def test_withdrawn_access_is_for_a_person_to_renew(
    token_server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """The provider is asked once and not on and on; all else goes on."""
    authority.announces_expiry = False
    deliver(token_server, "ana", 1)
    deliver(token_server, "ben", 1)
    accounts = {
        "work": granted(imap_account(token_server, "ana"), authority),
        "other": imap_account(token_server, "ben"),
    }
    told = tmp_path / "told"
    hooks = {"on_auth_error": ["sh", "-c", f"cat >{told}.new && mv {told}.new {told}"]}
    daemon = make_daemon(accounts, ("laptop",), environment=trusting(authority), is_forked=True, hooks=hooks)
    log_in(daemon, authority, "work", "ana")
    authority.revoke()

    with daemon:
        wait_until(told.exists, SOON_S, "a program of the person is told")
        wait_until(lambda: daemon.account("work")["error"], SOON_S, "it says so")
        account = daemon.account("work")
        wait_until(lambda: files(tmp_path / "laptop", "other.INBOX"), SOON_S, "the other one has its mail")
        asked = authority.asked.count("refresh_token")
        log_in(daemon, authority, "work", "ana")
        wait_until(lambda: files(tmp_path / "laptop", "work.INBOX"), SOON_S, "the mail comes")

    assert account["error"] == f"{REFUSED}; waiting does not help"
    assert account["remedy"] == "syncd auth login work"
    assert '"what_to_do": "syncd auth login work"' in told.read_text()
    assert asked == 1


def test_provider_that_is_away_is_asked_again_later(
    token_server: Dovecot, authority: Authority, make_daemon: MakeDaemon
) -> None:
    """Waiting helps, and nobody has to log in for that."""
    authority.announces_expiry = False
    work = granted(imap_account(token_server, "ana"), authority)
    daemon = make_daemon({"work": work}, ("laptop",), environment=trusting(authority), is_forked=True)
    log_in(daemon, authority, "work", "ana")
    authority.failure = (503, "of ana@example.org")

    failed = daemon.syncd("sync")
    account = daemon.account("work")
    authority.failure = None
    daemon.sync()

    assert failed.returncode == 1
    assert "the provider of tokens answers with status 503" in failed.stderr
    assert "example.org" not in failed.stderr
    assert "syncd auth login" not in str(account["remedy"])


def test_copy_of_the_store_gives_nobody_access(
    token_server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """What is granted is sealed there; the key is a file of its own, which only its user can read."""
    deliver(token_server, "ana", 1)
    work = granted(imap_account(token_server, "ana"), authority)
    daemon = make_daemon({"work": work}, ("laptop",), environment=trusting(authority), is_forked=True)
    log_in(daemon, authority, "work", "ana")
    daemon.sync()

    octets = b"".join(file.read_bytes() for file in daemon.store.parent.glob("syncd.db*") if file.is_file())
    key = daemon.store.with_name("syncd.db.key")
    assert not [one for one in authority.issued if one.encode() in octets]
    assert key.stat().st_mode & 0o777 == 0o600

    key.unlink()
    lost = daemon.syncd("sync").stderr
    key.write_bytes(Fernet.generate_key())
    other = daemon.syncd("sync").stderr
    key.write_bytes(b"what?")
    damaged = daemon.syncd("sync").stderr
    remedy = daemon.account("work")["remedy"]
    early = daemon.syncd("auth", "login", "work")
    key.unlink()
    log_in(daemon, authority, "work", "ana")
    daemon.sync()

    assert f"the key {key} is not there, with which the store was sealed" in lost
    assert f"the key {key} is not the one with which the store was sealed" in other
    assert f"the key {key} is damaged: put it back, or remove it and log in again" in damaged
    assert (
        remedy
        == "see what it says, and whether key_file of [store] works for the user that runs syncd; then: syncd sync work"
    )
    assert (early.returncode, early.stdout) == (1, "")


def test_no_part_of_what_is_granted_is_logged_or_shown(
    token_server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """At debug level, with the wire traced, through logins, renewals and refusals: no token and no secret."""
    authority.client_secret = "a-secret-of-the-application"
    authority.announces_expiry = False
    deliver(token_server, "ana", 1)
    work = granted(imap_account(token_server, "ana"), authority, client_secret=authority.client_secret)
    environment = {**trusting(authority), "SYNCD_WIRE_TRACE": "*"}
    daemon = make_daemon({"work": work}, ("laptop",), environment=environment, is_forked=True, log_level="debug")
    with daemon:
        said = log_in(daemon, authority, "work", "ana")
        wait_until(lambda: files(tmp_path / "laptop", "work.INBOX"), SOON_S, "the mail comes")
        authority.revoke()
        token_server.restart()
        wait_until(lambda: daemon.account("work")["error"], SOON_S, "it says so")
        shown = said + daemon.log() + json.dumps(daemon.status()) + daemon.syncd("doctor", "--login").stdout

    assert authority.refreshes >= 1
    assert "AUTHENTICATE" in shown
    for secret in (*authority.issued, authority.client_secret):
        assert secret not in shown
        for before in range(3):  # as a part of any base64
            assert base64.b64encode(b"x" * before + secret.encode()).decode()[4:-4] not in shown


def test_commands_that_look_at_servers_use_the_token_of_the_store(
    token_server: Dovecot, authority: Authority, make_daemon: MakeDaemon
) -> None:
    """They change nothing there, so that a token that has ended is one that syncd renews later, which is no error."""
    accounts = {
        "work": granted(imap_account(token_server, "ana"), authority),
        "home": granted(imap_account(token_server, "eve"), authority),
        "none": granted(imap_account(token_server, "new"), authority),
    }
    daemon = make_daemon(accounts, ("laptop",), environment=trusting(authority), is_forked=True)
    daemon.config_file.parent.chmod(0o700)
    log_in(daemon, authority, "work", "ana")
    authority.announces_expiry = False
    log_in(daemon, authority, "home", "eve")

    told = daemon.syncd("check-config", "--probe")
    text = " ".join(f"{told.stdout}{told.stderr}".split())

    assert told.returncode == 1
    assert re.search(r"imap-login: Info: Login: user=<ana>, method=OAUTHBEARER", token_server.log_file.read_text())
    assert "nobody has logged in at its provider yet" in text
    assert "syncd auth login none" in text
    assert "the token in the store has ended; syncd renews it at its next login" in text
    assert "syncd auth login home" not in text
    assert authority.refreshes == 0
