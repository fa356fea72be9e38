"""Logging in with tokens of OAuth: what `token_command` prints, on a real server, by both protocols."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.daemon import Daemon, wait_until
from tests.servers.dovecot import Dovecot, find_program
from tests.servers.tokens import TokenProvider
from tests.system.mail import deliver, files, imap_account, pop3_account

MakeDaemon = Callable[..., Daemon]
MakeDovecot = Callable[..., Dovecot]
SOON_S = 60.0
_DISPENSE = """
cd {directory}
echo x >>asked
n=$(wc -l <asked)
[ -e token.$n ] || n=last
cat token.$n
"""


class Dispenser:
    """A `token_command` that prints one token after the other, the last one for ever, and counts."""

    def __init__(self, directory: Path, *tokens: str) -> None:
        directory.mkdir()
        self._asked = directory / "asked"
        for number, token in enumerate(tokens, 1):
            (directory / f"token.{number}").write_text(f"{token}\nand a line for people\n")
        (directory / "token.last").write_text(f"{tokens[-1]}\n")
        self.command = ["sh", "-c", _DISPENSE.format(directory=directory)]
        self.tokens = tokens

    @property
    def asked(self) -> int:
        """Return how often it was asked."""
        return len(self._asked.read_text().splitlines()) if self._asked.exists() else 0


def with_token(account: dict[str, object], dispenser: Dispenser) -> dict[str, object]:
    """Return an account that logs in with tokens instead of a password."""
    return {**{key: value for key, value in account.items() if key != "password"}, "token_command": dispenser.command}


@pytest.fixture
def provider() -> Iterator[TokenProvider]:
    with TokenProvider() as provider:
        yield provider


@pytest.fixture
def server(make_dovecot: MakeDovecot, provider: TokenProvider) -> Dovecot:
    """Return a Dovecot that takes tokens of the provider, and passwords as all do."""
    return taking(provider, make_dovecot)


def taking(provider: TokenProvider, make_dovecot: MakeDovecot, more: str = "") -> Dovecot:
    if find_program().version >= (2, 4):
        pytest.skip("how a Dovecot 2.4 is told of a provider is not written yet")
    return make_dovecot(extra_config=provider.dovecot_config() + more)


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
@pytest.mark.parametrize("is_encrypted", [True, False])
def test_mail_comes_by_tokens(
    make_dovecot: MakeDovecot,
    make_daemon: MakeDaemon,
    provider: TokenProvider,
    tmp_path: Path,
    mechanism: str,
    is_encrypted: bool,
) -> None:
    """By IMAP and by POP3, with the standard's mechanism or, where there is none, with that of Google and Microsoft."""
    offered = f"auth_mechanisms = plain xoauth2{' oauthbearer' if mechanism == 'OAUTHBEARER' else ''}\n"
    server = taking(provider, make_dovecot, offered)
    deliver(server, "ana", 2)
    deliver(server, "ben", 3)
    dispensers = [Dispenser(tmp_path / f"of-{user}", provider.token(user)) for user in ("ana", "ben")]
    work = with_token(imap_account(server, "ana"), dispensers[0])
    isp = with_token(pop3_account(server, "ben"), dispensers[1])
    if is_encrypted:
        trusted = {"tls": "implicit", "ca_file": str(server.ca_file)}
        work, isp = work | trusted | {"port": server.imaps_port}, isp | trusted | {"port": server.pop3s_port}
    daemon = make_daemon({"work": work, "isp": isp}, ("laptop",))

    daemon.sync()

    assert [len(files(tmp_path / "laptop", f"{account}.INBOX")) for account in ("work", "isp")] == [2, 3]
    logins = re.findall(r"(imap|pop3)-login: Info: Login: user=<(ana|ben)>, method=(\w+)", server.log_file.read_text())
    assert ("imap", "ana", mechanism) in logins
    assert ("pop3", "ben", mechanism) in logins


def test_each_login_has_a_token_of_its_own(
    server: Dovecot, make_daemon: MakeDaemon, provider: TokenProvider, tmp_path: Path
) -> None:
    """The one before may have expired long since: the command is asked, which knows."""
    dispenser = Dispenser(tmp_path / "work", provider.token("ana"), provider.token("ana"))
    deliver(server, "ana", 1)
    work = with_token(imap_account(server, "ana", max_connections=1), dispenser)

    with make_daemon({"work": work}, ("laptop",)) as daemon:
        daemon.sync()
        assert dispenser.asked == 1
        server.restart()
        wait_until(lambda: dispenser.asked == 2, SOON_S, "it connects again")
        deliver(server, "ana", 1, first=1)
        wait_until(lambda: len(files(tmp_path / "laptop", "work.INBOX")) == 2, SOON_S, "the mail comes")


def test_expired_token_is_followed_by_another_at_once(
    server: Dovecot, make_daemon: MakeDaemon, provider: TokenProvider, tmp_path: Path
) -> None:
    """Nobody waits a quarter of an hour, as after a wrong password, for what ends with the next token."""
    deliver(server, "ana", 1)
    deliver(server, "ben", 1)
    work, isp = (
        Dispenser(tmp_path / f"of-{user}", provider.token(user, expires_in_s=-60), provider.token(user))
        for user in ("ana", "ben")
    )
    accounts = {
        "work": with_token(imap_account(server, "ana", max_connections=1), work),
        "isp": with_token(pop3_account(server, "ben"), isp),
    }

    with make_daemon(accounts, ("laptop",)) as daemon:
        for name in accounts:
            wait_until(lambda name=name: files(tmp_path / "laptop", f"{name}.INBOX"), SOON_S, "the mail comes")
        failed = [line for line in map(json.loads, daemon.log().splitlines()) if line["event"] == "account_failed"]

    assert (work.asked, isp.asked) == (2, 2)
    assert {line["account"]: line["error"].endswith("(status invalid_token)") for line in failed} == {
        "work": True,
        "isp": True,
    }
    assert all(line["retry_in_s"] <= 1 for line in failed)


def test_tokens_that_are_refused_again_are_not_tried_on_and_on(
    server: Dovecot, make_daemon: MakeDaemon, provider: TokenProvider, tmp_path: Path
) -> None:
    """After the second one it is for a person to see why, who is told so, and asked as after a wrong password."""
    refused = Dispenser(tmp_path / "refused", "not.a.token", "not.a.token.either")

    with make_daemon({"work": with_token(imap_account(server, "ana"), refused)}, ("laptop",)) as daemon:
        wait_until(lambda: refused.asked == 2, SOON_S, "another one was tried")
        wait_until(lambda: "does not help" in str(daemon.status()["accounts"][0]["error"]), SOON_S, "it is given up")
        (account,) = daemon.status()["accounts"]

    assert refused.asked == 2
    assert account["cause"] == "login_refused"
    assert "token_command of [accounts.work]" in account["remedy"]


def test_command_without_a_token_is_told_by_its_end(server: Dovecot, make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """What it says to whom is its own business; nothing is sent to the server."""
    accounts = {
        "fails": with_command(server, "a", "echo secret-words; exit 3"),
        "silent": with_command(server, "b", "true"),
        "chatty": with_command(server, "c", "echo Please log in again"),
        "missing": {**with_command(server, "d", ""), "token_command": [str(tmp_path / "nothing")]},
    }

    with make_daemon(accounts, ("laptop",)) as daemon:
        wait_until(lambda: all(one["error"] for one in daemon.status()["accounts"]), SOON_S, "all fail")
        errors = {one["name"]: one["error"] for one in daemon.status()["accounts"]}
        causes = {one["cause"] for one in daemon.status()["accounts"]}

    assert errors == {
        "fails": "token_command ended with status 3",
        "silent": "the first line of token_command is empty",
        "chatty": "the first line of token_command is not a token",
        "missing": f"token_command cannot be run: {tmp_path}/nothing: no such file or directory",
    }
    assert causes == {"no_password"}
    assert "secret-words" not in daemon.log()
    assert "auth failed" not in server.log_file.read_text()


def with_command(server: Dovecot, user: str, script: str) -> dict[str, object]:
    """Return an account whose tokens are what a shell prints."""
    account = {key: value for key, value in imap_account(server, user).items() if key != "password"}
    return {**account, "token_command": ["sh", "-c", script]}


def test_no_token_is_logged_at_any_level(
    server: Dovecot, make_daemon: MakeDaemon, provider: TokenProvider, tmp_path: Path
) -> None:
    """At debug level, with wires traced, tokens taken and refused: no token, no part of one, in no form."""
    deliver(server, "ana@example.org", 1)
    deliver(server, "ben@example.org", 1)
    good = [Dispenser(tmp_path / user, provider.token(f"{user}@example.org")) for user in ("ana", "ben")]
    bad = [Dispenser(tmp_path / f"bad-{kind}", provider.token("x", expires_in_s=-60)) for kind in ("imap", "pop3")]
    accounts = {
        "work": with_token(imap_account(server, "ana@example.org"), good[0]),
        "isp": with_token(pop3_account(server, "ben@example.org"), good[1]),
        "badwork": with_token(imap_account(server, "eve@example.org"), bad[0]),
        "badisp": with_token(pop3_account(server, "eva@example.org"), bad[1]),
    }
    traced = {"SYNCD_WIRE_TRACE": "*"}

    with make_daemon(accounts, ("laptop",), environment=traced, log_level="debug") as daemon:
        daemon.syncd("sync")
        wait_until(lambda: all(one.asked > 1 for one in bad), SOON_S, "others were tried")
        shown = daemon.log() + json.dumps(daemon.status()) + daemon.syncd("doctor", "--login").stdout

    assert "AUTHENTICATE" in shown
    assert "AUTH OAUTHBEARER" in shown
    for token in (token for one in (*good, *bad) for token in one.tokens):
        for part in token.split("."):
            assert part not in shown
            for before in range(3):  # as a part of any base64
                assert base64.b64encode(b"x" * before + part.encode()).decode()[4:-4] not in shown
    assert "example.org" not in daemon.log()


@pytest.mark.parametrize("words", [("check-config", "--probe"), ("doctor", "--login")])
def test_commands_that_look_at_servers_log_in_with_tokens(
    server: Dovecot, make_daemon: MakeDaemon, provider: TokenProvider, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """A first look before anything runs: does it work, and else what is to be done."""
    good = Dispenser(tmp_path / "good", provider.token("ana"))
    bad = Dispenser(tmp_path / "bad", provider.token("ben", expires_in_s=-60))
    accounts = {
        "work": with_token(imap_account(server, "ana"), good),
        "isp": with_token(pop3_account(server, "ben"), bad),
        "none": {**with_token(imap_account(server, "eve"), bad), "token_command": ["false"]},
    }
    daemon = make_daemon(accounts, ("laptop",))
    daemon.config_file.parent.chmod(0o700)

    told = daemon.syncd(*words)
    text = " ".join(f"{told.stdout}{told.stderr}".split())

    assert (told.returncode, good.asked, bad.asked) == (1, 1, 1)
    assert re.search(r"imap-login: Info: Login: user=<ana>, method=OAUTHBEARER", server.log_file.read_text())
    assert "token_command ended with status 1" in text
    assert "correct username or token_command of accounts.isp: the token should be one for mail of this user" in text
    assert "gets it: token_command of accounts.none" in text
