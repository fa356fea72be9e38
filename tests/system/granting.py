"""Accounts with access that a provider of OAuth grants, and a person who logs in there."""

import os
import re
import time
from types import TracebackType
from typing import Self

from tests.servers.authority import Authority
from tests.servers.daemon import ROOT, Daemon, wait_until
from tests.servers.forked import Forked

SOON_S = 60.0
CODE = r"\n +([A-Z]{4}-[A-Z]{4})\n"
"""What a person enters in a browser, as it is shown."""
ADDRESS = r"\n +(https://\S+)\n"
"""Where a browser is to go."""


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
        authority.approve(login.shown(CODE), user)
        assert login.ends() == 0, login.said
        return login.said
