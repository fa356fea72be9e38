"""`syncd auth login`: a person grants access at a provider of OAuth, and accounts log in with it from then on."""

import json
import re
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.authority import Authority
from tests.servers.daemon import Daemon, toml, wait_until
from tests.servers.dovecot import Dovecot
from tests.system.granting import ADDRESS, CODE, SOON_S, Login, granted, log_in, trusting
from tests.system.mail import deliver, files, imap_account, pop3_account

MakeDaemon = Callable[..., Daemon]


def test_access_is_granted_by_a_code_and_mail_comes_by_both_protocols(
    token_server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """On a machine without a browser, before anything runs: two lines tell what to do, and then it is done."""
    deliver(token_server, "ana", 2)
    deliver(token_server, "ben", 3)
    accounts = {
        "work": granted(imap_account(token_server, "ana"), authority),
        "isp": granted(pop3_account(token_server, "ben"), authority),
    }
    daemon = make_daemon(accounts, ("laptop",), environment=trusting(authority), is_forked=True)

    said = log_in(daemon, authority, "work", "ana")
    log_in(daemon, authority, "isp", "ben")
    daemon.sync()

    assert [len(files(tmp_path / "laptop", f"{account}.INBOX")) for account in accounts] == [2, 3]
    assert "work: in a browser, on any machine, open https://127.0.0.1" in said
    assert said.endswith("work: access is granted: the next syncd sync or syncd run logs in with it\n")
    logins = re.findall(
        r"(imap|pop3)-login: Info: Login: user=<(ana|ben)>, method=(\w+)", token_server.log_file.read_text()
    )
    assert {("imap", "ana", "OAUTHBEARER"), ("pop3", "ben", "OAUTHBEARER")} <= set(logins)
    assert authority.refreshes == 0


@pytest.mark.parametrize("is_pasted", [False, True])
def test_access_is_granted_in_a_browser_here_or_elsewhere(
    token_server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path, is_pasted: bool
) -> None:
    """Where a provider takes no codes: the browser comes back to this machine, or its address is pasted."""
    deliver(token_server, "ana", 2)
    authority.client_secret = "a-secret-of-the-application"
    keys = {"authorization_url": authority.authorization_url, "client_secret": authority.client_secret}
    daemon = make_daemon(
        {"work": granted(imap_account(token_server, "ana"), authority, **keys)},
        ("laptop",),
        environment=trusting(authority),
        is_forked=True,
    )

    with Login(daemon, "work") as login:
        address = login.shown(ADDRESS)
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


def test_person_who_refuses_is_told_so(token_server: Dovecot, authority: Authority, make_daemon: MakeDaemon) -> None:
    """Whichever way it is asked for; nothing is kept then."""
    accounts = {
        "work": granted(imap_account(token_server, "ana"), authority),
        "home": granted(imap_account(token_server, "eve"), authority, authorization_url=authority.authorization_url),
    }
    daemon = make_daemon(accounts, ("laptop",), environment=trusting(authority), is_forked=True)

    with Login(daemon, "work") as by_code, Login(daemon, "home") as by_browser:
        authority.refuse(by_code.shown(CODE))
        by_browser.types(authority.deny(by_browser.shown(ADDRESS)))
        assert (by_code.ends(), by_browser.ends()) == (1, 1)

    for login in (by_code, by_browser):
        assert "syncd: the access was refused (access_denied)" in login.said
    assert "nobody has logged in at its provider yet" in daemon.syncd("sync").stderr


def test_running_daemon_goes_on_as_soon_as_access_is_granted(
    token_server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """It says what it lacks and what to do, and waits for nothing else then."""
    deliver(token_server, "ana", 2)
    work = granted(imap_account(token_server, "ana"), authority)

    with make_daemon({"work": work}, ("laptop",), environment=trusting(authority), is_forked=True) as daemon:
        wait_until(lambda: daemon.account("work")["error"], SOON_S, "it says what it lacks")
        before = daemon.account("work")
        said = log_in(daemon, authority, "work", "ana")
        wait_until(lambda: len(files(tmp_path / "laptop", "work.INBOX")) == 2, SOON_S, "the mail comes")

    assert before["error"] == "nobody has logged in at its provider yet; waiting does not help"
    assert (before["cause"], before["remedy"]) == ("no_access", "syncd auth login work")
    assert said.endswith("work: access is granted, and the daemon logs in with it: syncd status shows how that goes\n")
    assert [
        one["account"] for one in map(json.loads, daemon.log().splitlines()) if one["event"] == "access_granted"
    ] == ["work"]


def test_provider_that_is_not_trusted_is_told_nothing(
    token_server: Dovecot, authority: Authority, make_daemon: MakeDaemon
) -> None:
    """Somebody in between gets neither the code of a login nor what it is renewed with."""
    work = granted(imap_account(token_server, "ana"), authority)
    daemon = make_daemon({"work": work}, ("laptop",), environment={})

    with Login(daemon, "work") as login:
        assert login.ends() == 1

    assert login.said == "syncd: the provider of tokens cannot be trusted: see its certificate, and the clock\n"
    assert authority.issued == []


def test_login_is_refused_before_anybody_goes_to_a_browser(
    token_server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Where what is granted could be of no use, or be kept nowhere: by a daemon, or without one."""
    work = granted(imap_account(token_server, "ana"), authority)
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

    running = {"work": work, "plain": imap_account(token_server, "ben")}
    with make_daemon(running, ("laptop",), environment=trusting(authority), is_forked=True) as daemon:
        told = [
            refused(daemon, {"accounts": running}, "nobody"),
            refused(daemon, {"accounts": running}, "plain"),
            refused(daemon, {"accounts": {"new": work}}, "new"),
            refused(
                daemon, {"accounts": {"work": granted(imap_account(token_server, "ana"), authority, client_id="other")}}
            ),
            refused(daemon, {"accounts": {"plain": granted(imap_account(token_server, "ben"), authority)}}, "plain"),
            refused(
                daemon, {"accounts": {"work": granted(imap_account(token_server, "ana"), authority, client_secret="x")}}
            ),
        ]
    key = {"store": {"url": f"sqlite:///{daemon.store}", "key_file": "/dev/null/key"}}
    told += [
        refused(daemon, {"accounts": {"work": granted(imap_account(token_server, "another"), authority)}}),
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
    token_server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path, is_running: bool
) -> None:
    """A daemon may begin or end while a person is in a browser."""
    deliver(token_server, "ana", 1)
    work = granted(imap_account(token_server, "ana"), authority)
    daemon = make_daemon({"work": work}, ("laptop",), environment=trusting(authority), is_forked=True)
    if is_running:
        daemon.start()

    with Login(daemon, "work") as login:
        code = login.shown(CODE)
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
    token_server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Whether it has kept it nobody knows, so it is kept once more."""
    deliver(token_server, "ana", 1)
    work = granted(imap_account(token_server, "ana"), authority)
    daemon = make_daemon({"work": work}, ("laptop",), environment=trusting(authority), is_forked=True)

    with Login(daemon, "work") as login, socket.socket(socket.AF_UNIX) as listener:
        code = login.shown(CODE)
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
    token_server: Dovecot, authority: Authority, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Nobody waits a quarter of an hour for what failed before they logged in."""
    deliver(token_server, "ana", 1)
    authority.announces_expiry = False
    work = granted(imap_account(token_server, "ana", max_connections=1), authority)
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
    token_server: Dovecot, authority: Authority, make_daemon: MakeDaemon
) -> None:
    """An organization may forbid them; and the address may come from a program, without the end of its line."""
    keys = {"device_url": authority.device_url, "authorization_url": authority.authorization_url}
    work = granted(imap_account(token_server, "ana"), authority, **keys)
    daemon = make_daemon({"work": work}, ("laptop",), environment=trusting(authority), is_forked=True)

    with Login(daemon, "work", "--browser") as login:
        address = authority.consent(login.shown(ADDRESS), "ana")
        login.types(address, is_last=True)
        assert login.ends() == 0, login.said
