"""Access that a person grants at a provider of OAuth: asked for once, renewed by syncd, and of use to nobody else."""

import base64
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.servers.authority import DEVICE_CODE, Authority
from tests.servers.daemon import ROOT, Daemon, wait_until
from tests.servers.dovecot import Dovecot, find_program
from tests.servers.forked import Forked
from tests.servers.tokens import TokenProvider
from tests.system.mail import deliver, files, imap_account, pop3_account

MakeDaemon = Callable[..., Daemon]
MakeDovecot = Callable[..., Dovecot]
SOON_S = 60.0
REFUSED = "the provider renews the access no more: it ran out, or was withdrawn (invalid_grant)"


@pytest.fixture
def tokens() -> Iterator[TokenProvider]:
    with TokenProvider() as tokens:
        yield tokens


@pytest.fixture
def authority(tokens: TokenProvider) -> Iterator[Authority]:
    with Authority(tokens, interval_s=0) as authority:
        yield authority


@pytest.fixture
def server(make_dovecot: MakeDovecot, tokens: TokenProvider) -> Dovecot:
    """Return a Dovecot that takes the tokens of the provider."""
    if find_program().version >= (2, 4):
        pytest.skip("how a Dovecot 2.4 is told of a provider is not written yet")
    return make_dovecot(extra_config=tokens.dovecot_config())


def granted(account: dict[str, object], authority: Authority, **keys: object) -> dict[str, object]:
    """Return an account that logs in by access that a provider grants, by a code that is entered anywhere."""
    oauth = {"client_id": authority.client_id, "token_url": authority.token_url, "scopes": ["mail"], **keys}
    if not {"device_url", "authorization_url"} & keys.keys():
        oauth["device_url"] = authority.device_url
    return {**{key: value for key, value in account.items() if key != "password"}, "oauth": oauth}


def trusting(authority: Authority) -> dict[str, str]:
    """Return what makes a process trust the provider, as it does those of the world."""
    return {"SSL_CERT_FILE": str(authority.ca_file)}


class Login:
    """Run `syncd auth login` as a person at a terminal sees it; leaving ends it."""

    def __init__(self, daemon: Daemon, account: str) -> None:
        self._said = daemon.directory / f"login-{account}"
        read, self._written = os.pipe()
        try:
            with self._said.open("wb") as said:
                self._process = Forked(
                    ("auth", "login", account, "--config", str(daemon.config_file)),
                    directory=ROOT,
                    environment=daemon._environment,
                    stdin=read,
                    stdout=said.fileno(),
                    stderr=said.fileno(),
                )
        finally:
            os.close(read)

    @property
    def said(self) -> str:
        return self._said.read_text()

    def shown(self, pattern: str) -> str:
        """Return what the first group of a pattern is, once that is shown."""
        wait_until(lambda: re.search(pattern, self.said) or self._process.poll() is not None, SOON_S, pattern)
        found = re.search(pattern, self.said)
        assert found is not None, self.said
        return found[1]

    def types(self, line: str) -> None:
        os.write(self._written, f"{line}\n".encode())

    def ends(self) -> int:
        """Return the exit code."""
        return self._process.wait(SOON_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._written)


def log_in(daemon: Daemon, authority: Authority, account: str, user: str) -> str:
    """Log in by a code as a person does, and return what was shown."""
    with Login(daemon, account) as login:
        authority.approve(login.shown(r"\n +([A-Z]{4}-[A-Z]{4})\n"), user)
        assert login.ends() == 0, login.said
        return login.said


def events(daemon: Daemon, name: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, daemon.log().splitlines()) if line["event"] == name]


def test_access_is_granted_by_a_code_and_mail_comes_by_both_protocols(
    server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """On a machine without a browser, before anything runs: two lines tell what to do, and then it is done."""
    deliver(server, "ana", 2)
    deliver(server, "ben", 3)
    accounts = {
        "work": granted(imap_account(server, "ana"), authority),
        "isp": granted(pop3_account(server, "ben"), authority),
    }
    daemon = make_daemon(accounts, ("laptop",), environment=trusting(authority), is_forked=True)

    said = log_in(daemon, authority, "work", "ana")
    log_in(daemon, authority, "isp", "ben")
    daemon.sync()

    assert [len(files(tmp_path / "laptop", f"{account}.INBOX")) for account in accounts] == [2, 3]
    assert "work: in a browser, on any machine, open https://127.0.0.1" in said
    assert said.endswith("work: access is granted: the next syncd sync or syncd run logs in with it\n")
    logins = re.findall(r"(imap|pop3)-login: Info: Login: user=<(ana|ben)>, method=(\w+)", server.log_file.read_text())
    assert {("imap", "ana", "OAUTHBEARER"), ("pop3", "ben", "OAUTHBEARER")} <= set(logins)
    assert authority.refreshes == 0


@pytest.mark.parametrize("is_pasted", [False, True])
def test_access_is_granted_in_a_browser_here_or_elsewhere(
    server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path, is_pasted: bool
) -> None:
    """Where a provider takes no codes: the browser comes back to this machine, or its address is pasted."""
    deliver(server, "ana", 2)
    authority.client_secret = "a-secret-of-the-application"
    keys = {"authorization_url": authority.authorization_url, "client_secret": authority.client_secret}
    daemon = make_daemon(
        {"work": granted(imap_account(server, "ana"), authority, **keys)},
        ("laptop",),
        environment=trusting(authority),
        is_forked=True,
    )

    with Login(daemon, "work") as login:
        address = login.shown(r"\n +(https://\S+)\n")
        came_to = authority.consent(address, "ana")
        if is_pasted:
            login.types("what is this?")
            login.shown("(that is not the address at which the browser ends)")
            login.types(came_to.replace("state=", "state=x"))
            login.shown("(that address is of another login, or not whole)")
            login.types(came_to)
        else:
            with urllib.request.urlopen(came_to, timeout=10) as page:
                assert b"you can close this page" in page.read()
        assert login.ends() == 0, login.said
    daemon.sync()

    assert len(files(tmp_path / "laptop", "work.INBOX")) == 2
    assert "login_hint=ana" in address


def test_person_who_refuses_is_told_so(server: Dovecot, authority: Authority, make_daemon: MakeDaemon) -> None:
    """Whichever way it is asked for; nothing is kept then."""
    accounts = {
        "work": granted(imap_account(server, "ana"), authority),
        "home": granted(imap_account(server, "eve"), authority, authorization_url=authority.authorization_url),
    }
    daemon = make_daemon(accounts, ("laptop",), environment=trusting(authority), is_forked=True)

    with Login(daemon, "work") as by_code, Login(daemon, "home") as by_browser:
        authority.refuse(by_code.shown(r"\n +([A-Z]{4}-[A-Z]{4})\n"))
        by_browser.types(authority.deny(by_browser.shown(r"\n +(https://\S+)\n")))
        assert (by_code.ends(), by_browser.ends()) == (1, 1)

    for login in (by_code, by_browser):
        assert "syncd: the access was refused (access_denied)" in login.said
    assert "nobody has logged in at its provider yet" in daemon.syncd("sync").stderr


def test_running_daemon_goes_on_as_soon_as_access_is_granted(
    server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """It says what it lacks and what to do, and waits for nothing else then."""
    deliver(server, "ana", 2)
    work = granted(imap_account(server, "ana"), authority)

    with make_daemon({"work": work}, ("laptop",), environment=trusting(authority), is_forked=True) as daemon:
        wait_until(lambda: daemon.account("work")["error"], SOON_S, "it says what it lacks")
        before = daemon.account("work")
        said = log_in(daemon, authority, "work", "ana")
        wait_until(lambda: len(files(tmp_path / "laptop", "work.INBOX")) == 2, SOON_S, "the mail comes")

    assert before["error"] == "nobody has logged in at its provider yet; waiting does not help"
    assert (before["cause"], before["remedy"]) == ("no_password", "syncd auth login work")
    assert said.endswith("work: access is granted, and the daemon logs in with it: syncd status shows how that goes\n")
    assert [one["account"] for one in events(daemon, "access_granted")] == ["work"]


@pytest.mark.parametrize("rotates", [True, False])
def test_access_is_renewed_for_each_login_that_needs_it(
    server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path, rotates: bool
) -> None:
    """What it is renewed with next is in the store before it is used: daemons that are killed do not lose it."""
    authority.rotates = rotates
    authority.expires_in_s = 200  # too short for a login
    deliver(server, "ana", 1)
    work = granted(imap_account(server, "ana", max_connections=1), authority)
    daemon = make_daemon({"work": work}, ("laptop",), environment=trusting(authority), is_forked=True)
    log_in(daemon, authority, "work", "ana")

    for number in range(1, 4):
        daemon.start()
        wait_until(lambda number=number: len(files(tmp_path / "laptop", "work.INBOX")) == number, SOON_S, "mail comes")
        daemon.kill()
        deliver(server, "ana", 1, first=number)
    daemon.sync()

    assert len(files(tmp_path / "laptop", "work.INBOX")) == 4
    assert authority.refreshes == 4
    assert authority.asked == [DEVICE_CODE, *["refresh_token"] * 4]


def test_token_that_lives_on_is_used_again(
    server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """A cron job every minute asks no provider every minute."""
    work = granted(imap_account(server, "ana"), authority)
    daemon = make_daemon({"work": work}, ("laptop",), environment=trusting(authority), is_forked=True)
    log_in(daemon, authority, "work", "ana")

    for number in range(3):
        deliver(server, "ana", 1, first=number)
        daemon.sync()

    assert len(files(tmp_path / "laptop", "work.INBOX")) == 3
    assert authority.refreshes == 0


def test_token_that_the_server_refuses_is_followed_by_another_at_once(
    server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """It was withdrawn, or a clock is wrong: what is known of its end counts no more."""
    deliver(server, "ana", 1)
    authority.announces_expiry = True
    work = granted(imap_account(server, "ana", max_connections=1), authority)
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
    server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """The provider is asked once and not on and on; all else goes on."""
    authority.expires_in_s = 200
    deliver(server, "ana", 1)
    deliver(server, "ben", 1)
    accounts = {
        "work": granted(imap_account(server, "ana"), authority),
        "other": imap_account(server, "ben"),
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
    server: Dovecot, authority: Authority, make_daemon: MakeDaemon
) -> None:
    """Waiting helps, and nobody has to log in for that."""
    authority.expires_in_s = 200
    work = granted(imap_account(server, "ana"), authority)
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


def test_provider_that_is_not_trusted_is_told_nothing(
    server: Dovecot, authority: Authority, make_daemon: MakeDaemon
) -> None:
    """Somebody in between gets neither the code of a login nor what it is renewed with."""
    work = granted(imap_account(server, "ana"), authority)
    daemon = make_daemon({"work": work}, ("laptop",), environment={})

    with Login(daemon, "work") as login:
        assert login.ends() == 1

    assert login.said == "syncd: the provider of tokens cannot be trusted: see its certificate, and the clock\n"
    assert authority.asked == []


def test_copy_of_the_store_gives_nobody_access(
    server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """What is granted is sealed there; the key is a file of its own, which only its user can read."""
    deliver(server, "ana", 1)
    work = granted(imap_account(server, "ana"), authority)
    daemon = make_daemon({"work": work}, ("laptop",), environment=trusting(authority), is_forked=True)
    log_in(daemon, authority, "work", "ana")
    daemon.sync()

    octets = b"".join(file.read_bytes() for file in daemon.store.parent.glob("syncd.db*") if file.is_file())
    key = daemon.store.with_name("syncd.db.key")
    assert not [one for one in authority.issued if one.encode() in octets]
    assert key.stat().st_mode & 0o777 == 0o600

    whole = key.read_bytes()
    key.unlink()
    lost = daemon.syncd("sync").stderr
    key.write_bytes(whole[::-1].strip() + b"\n")
    other = daemon.syncd("sync").stderr
    key.write_bytes(b"what?")
    damaged = daemon.syncd("sync").stderr
    key.unlink()
    log_in(daemon, authority, "work", "ana")
    daemon.sync()

    assert f"the key {key} is not there any more" in lost
    assert f"what is in {key} is no key" in damaged
    assert ("is not the one that the store was sealed with" in other) or ("is no key" in other)


def test_no_part_of_what_is_granted_is_logged_or_shown(
    server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """At debug level, with the wire traced, through logins, renewals and refusals: no token and no secret."""
    authority.client_secret = "a-secret-of-the-application"
    authority.expires_in_s = 200
    deliver(server, "ana", 1)
    work = granted(imap_account(server, "ana"), authority, client_secret=authority.client_secret)
    environment = {**trusting(authority), "SYNCD_WIRE_TRACE": "*"}
    daemon = make_daemon({"work": work}, ("laptop",), environment=environment, is_forked=True, log_level="debug")
    with daemon:
        said = log_in(daemon, authority, "work", "ana")
        wait_until(lambda: files(tmp_path / "laptop", "work.INBOX"), SOON_S, "the mail comes")
        authority.revoke()
        server.restart()
        wait_until(lambda: daemon.account("work")["error"], SOON_S, "it says so")
        shown = said + daemon.log() + json.dumps(daemon.status()) + daemon.syncd("doctor", "--login").stdout

    assert authority.refreshes >= 1
    assert "AUTHENTICATE" in shown
    for secret in (*authority.issued, authority.client_secret):
        assert secret not in shown
        for before in range(3):  # as a part of any base64
            assert base64.b64encode(b"x" * before + secret.encode()).decode()[4:-4] not in shown


def test_commands_that_look_at_servers_use_the_token_of_the_store(
    server: Dovecot, authority: Authority, make_daemon: MakeDaemon
) -> None:
    """They change nothing there, so that a token that has ended is one that syncd renews later, which is no error."""
    accounts = {
        "work": granted(imap_account(server, "ana"), authority),
        "home": granted(imap_account(server, "eve"), authority),
        "none": granted(imap_account(server, "new"), authority),
    }
    daemon = make_daemon(accounts, ("laptop",), environment=trusting(authority), is_forked=True)
    daemon.config_file.parent.chmod(0o700)
    log_in(daemon, authority, "work", "ana")
    authority.expires_in_s = 200
    log_in(daemon, authority, "home", "eve")

    told = daemon.syncd("check-config", "--probe")
    text = " ".join(f"{told.stdout}{told.stderr}".split())

    assert told.returncode == 1
    assert re.search(r"imap-login: Info: Login: user=<ana>, method=OAUTHBEARER", server.log_file.read_text())
    assert "nobody has logged in at its provider yet" in text
    assert "syncd auth login none" in text
    assert "the token in the store has ended; syncd renews it at its next login" in text
    assert "syncd auth login home" not in text
    assert authority.refreshes == 0


def test_login_is_refused_before_anybody_goes_to_a_browser(
    server: Dovecot, authority: Authority, make_daemon: MakeDaemon
) -> None:
    """Where what is granted could be of no use: no such account, no application, a daemon that does not know it yet."""
    accounts = {"work": granted(imap_account(server, "ana"), authority), "plain": imap_account(server, "ben")}
    daemon = make_daemon({"plain": accounts["plain"]}, ("laptop",), environment=trusting(authority), is_forked=True)

    with daemon:
        unknown = daemon.syncd("auth", "login", "nobody")
        plain = daemon.syncd("auth", "login", "plain")
        config = daemon.config_file.read_text()
        other = Daemon(daemon.directory, {"accounts": accounts, "devices": {}})
        text = other.config_file.read_text().replace(str(other.socket), str(daemon.socket))
        other.discard()
        elsewhere = daemon.directory / "edited.toml"
        elsewhere.write_text(text)
        elsewhere.chmod(0o600)
        daemon.config_file.write_text(config)
        early = subprocess.run(
            [sys.executable, "-m", "syncd", "auth", "login", "work", "--config", str(elsewhere)],
            cwd=ROOT,
            env=daemon._environment,
            capture_output=True,
            text=True,
            timeout=SOON_S,
        )

    assert (unknown.returncode, plain.returncode, early.returncode) == (2, 2, 1)
    assert "there is no account 'nobody'; known are: plain" in unknown.stderr
    assert "accounts.plain has no oauth in the configuration" in plain.stderr
    assert early.stderr == "syncd: the daemon has no account work yet: syncd reload\n"
    assert authority.asked == []
