"""Access that a person grants at a provider of OAuth: asked for once, renewed by syncd, and of use to nobody else."""

import base64
import json
import os
import re
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from cryptography.fernet import Fernet

from tests.servers.authority import DEVICE_CODE, Authority
from tests.servers.daemon import ROOT, Daemon, toml, wait_until
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

    def __init__(self, daemon: Daemon, account: str, *options: str) -> None:
        self._said = daemon.directory / f"login-{account}-{time.monotonic_ns()}"
        read, self._written = os.pipe()
        try:
            with self._said.open("wb") as said:
                self._process = Forked(
                    ("auth", "login", account, *options, "--config", str(daemon.config_file)),
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

    def types(self, line: str, *, is_last: bool = False) -> None:
        """Say a line; the last one may lack its end."""
        os.write(self._written, line.encode() if is_last else f"{line}\n".encode())
        if is_last:
            self._close()

    def _close(self) -> None:
        if self._written >= 0:
            os.close(self._written)
        self._written = -1

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
        self._close()


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
    assert (before["cause"], before["remedy"]) == ("no_access", "syncd auth login work")
    assert said.endswith("work: access is granted, and the daemon logs in with it: syncd status shows how that goes\n")
    assert [one["account"] for one in events(daemon, "access_granted")] == ["work"]


@pytest.mark.parametrize("rotates", [True, False])
def test_access_is_renewed_for_each_login_that_needs_it(
    server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path, rotates: bool
) -> None:
    """What it is renewed with next is in the store before it is used: daemons that are killed do not lose it."""
    authority.rotates = rotates
    authority.announces_expiry = False  # so each is for one login
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
    authority.announces_expiry = False
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
    authority.announces_expiry = False
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
    assert authority.issued == []


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
    server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """At debug level, with the wire traced, through logins, renewals and refusals: no token and no secret."""
    authority.client_secret = "a-secret-of-the-application"
    authority.announces_expiry = False
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
    authority.announces_expiry = False
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
    server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Where what is granted could be of no use, or be kept nowhere: by a daemon, or without one."""
    work = granted(imap_account(server, "ana"), authority)
    elsewhere = tmp_path / "elsewhere.toml"

    def refused(daemon: Daemon, config: dict[str, object], account: str = "work") -> str:
        whole = {"store": {"url": f"sqlite:///{daemon.store}"}, "daemon": {"socket": daemon.socket}, **config}
        elsewhere.write_text(toml(whole))
        elsewhere.chmod(0o600)
        daemon.config_file, before = elsewhere, daemon.config_file
        try:
            ended = daemon.syncd("auth", "login", account)
        finally:
            daemon.config_file = before
        assert ended.returncode in {1, 2}
        assert ended.stdout == ""
        return " ".join(ended.stderr.split())

    running = {"work": work, "plain": imap_account(server, "ben")}
    with make_daemon(running, ("laptop",), environment=trusting(authority), is_forked=True) as daemon:
        told = [
            refused(daemon, {"accounts": running}, "nobody"),
            refused(daemon, {"accounts": running}, "plain"),
            refused(daemon, {"accounts": {"new": work}}, "new"),
            refused(daemon, {"accounts": {"work": granted(imap_account(server, "ana"), authority, client_id="other")}}),
            refused(daemon, {"accounts": {"plain": granted(imap_account(server, "ben"), authority)}}, "plain"),
            refused(daemon, {"accounts": {"work": granted(imap_account(server, "ana"), authority, client_secret="x")}}),
        ]
    key = {"store": {"url": f"sqlite:///{daemon.store}", "key_file": "/dev/null/key"}}
    told += [
        refused(daemon, {"accounts": {"work": granted(imap_account(server, "another"), authority)}}),
        refused(daemon, {"accounts": {"work": work}, **key}),
    ]

    for part, text in zip(
        (
            "there is no account 'nobody'; known are: work, plain",
            "accounts.plain has no oauth in the configuration",
            "the daemon has no account new yet: syncd reload",
            "accounts.work has another client_id or token_url where it runs: syncd reload",
            "accounts.plain has no oauth where it runs: syncd reload",
            "only one of this command and the daemon has the client_secret: give both the same, as",
            "it is another server or user than the one that the mail of this account came from",
            "the key /dev/null/key cannot be",
        ),
        told,
        strict=True,
    ):
        assert part in text
    assert authority.issued == []


@pytest.mark.parametrize("is_running", [True, False])
def test_what_is_granted_is_kept_whoever_has_the_store_by_then(
    server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path, is_running: bool
) -> None:
    """A daemon may begin or end while a person is in a browser."""
    deliver(server, "ana", 1)
    work = granted(imap_account(server, "ana"), authority)
    daemon = make_daemon({"work": work}, ("laptop",), environment=trusting(authority), is_forked=True)
    if is_running:
        daemon.start()

    with Login(daemon, "work") as login:
        code = login.shown(r"\n +([A-Z]{4}-[A-Z]{4})\n")
        if is_running:
            daemon.stop()
        else:
            daemon.start()
        authority.approve(code, "ana")
        assert login.ends() == 0, login.said

    if is_running:
        daemon.start()
    wait_until(lambda: files(tmp_path / "laptop", "work.INBOX"), SOON_S, "the mail comes")


def test_daemon_that_goes_away_before_it_answers_takes_no_grant_along(
    server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Whether it has kept it nobody knows, so it is kept once more."""
    deliver(server, "ana", 1)
    work = granted(imap_account(server, "ana"), authority)
    daemon = make_daemon({"work": work}, ("laptop",), environment=trusting(authority), is_forked=True)

    with Login(daemon, "work") as login, socket.socket(socket.AF_UNIX) as listener:
        code = login.shown(r"\n +([A-Z]{4}-[A-Z]{4})\n")
        daemon.socket.parent.mkdir()
        listener.bind(str(daemon.socket))
        listener.listen()
        listener.settimeout(SOON_S)
        authority.approve(code, "ana")
        asking, _ = listener.accept()
        asking.recv(1)
        daemon.socket.unlink()
        asking.close()
        assert login.ends() == 0, login.said
    daemon.sync()

    assert len(files(tmp_path / "laptop", "work.INBOX")) == 1


def test_login_counts_at_once_though_the_access_before_it_is_just_being_refused(
    server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Nobody waits a quarter of an hour for what failed before they logged in."""
    deliver(server, "ana", 1)
    authority.announces_expiry = False
    work = granted(imap_account(server, "ana", max_connections=1), authority)
    daemon = make_daemon({"work": work}, ("laptop",), environment=trusting(authority), is_forked=True)
    log_in(daemon, authority, "work", "ana")
    authority.announces_expiry = True
    authority.revoke()
    authority.answers_renewals.clear()

    with daemon:
        wait_until(lambda: "refresh_token" in authority.asked, SOON_S, "the daemon renews the old one")
        log_in(daemon, authority, "work", "ana")
        authority.answers_renewals.set()
        wait_until(lambda: files(tmp_path / "laptop", "work.INBOX"), SOON_S, "the mail comes")


def test_browser_is_a_way_where_codes_are_not_allowed(
    server: Dovecot, authority: Authority, make_daemon: MakeDaemon
) -> None:
    """An organization may forbid them; and the address may come from a program, without the end of its line."""
    keys = {"device_url": authority.device_url, "authorization_url": authority.authorization_url}
    work = granted(imap_account(server, "ana"), authority, **keys)
    daemon = make_daemon({"work": work}, ("laptop",), environment=trusting(authority), is_forked=True)

    with Login(daemon, "work", "--browser") as login:
        address = authority.consent(login.shown(r"\n +(https://\S+)\n"), "ana")
        login.types(address, is_last=True)
        assert login.ends() == 0, login.said
