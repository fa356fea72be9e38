"""Daemons for the tests of commands and processes; each ends with its test."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers.authority import Authority
from tests.servers.daemon import Daemon
from tests.servers.dovecot import Dovecot, find_program
from tests.servers.tokens import TokenProvider


@pytest.fixture
def make_daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Yield a function that makes a Daemon, not started, of the given accounts, devices and [daemon] keys.

    A device may be a path; its last part is then its name. is_made: False lets the daemon itself make its store.
        is_forked: with nothing imported anew, by default where it has no environment of its own.
    """
    with ExitStack() as stack:

        def make(
            accounts: dict[str, object],
            devices: tuple[str, ...] = ("laptop", "phone"),
            through: Sequence[str] = (),
            environment: Mapping[str, str] | None = None,
            hooks: Mapping[str, object] | None = None,
            is_made: bool = True,
            is_forked: bool | None = None,
            **daemon_keys: object,
        ) -> Daemon:
            roots = {Path(device).name: {"path": str(tmp_path / device)} for device in devices}
            config = {"accounts": accounts, "devices": roots, "daemon": daemon_keys, "hooks": hooks or {}}
            daemon = Daemon(
                tmp_path / "syncd",
                config,
                through=through,
                environment=environment,
                is_made=is_made,
                is_forked=is_forked if is_forked is not None else not through and not environment,
            )
            stack.callback(daemon.discard)
            return daemon

        yield make


@pytest.fixture
def tokens() -> Iterator[TokenProvider]:
    with TokenProvider() as tokens:
        yield tokens


@pytest.fixture
def authority(tokens: TokenProvider) -> Iterator[Authority]:
    with Authority(tokens, interval_s=0) as authority:
        yield authority


@pytest.fixture
def token_server(make_dovecot: Callable[..., Dovecot], tokens: TokenProvider) -> Dovecot:
    """Return a Dovecot that takes the tokens of the provider."""
    if find_program().version >= (2, 4):
        pytest.skip("how a Dovecot 2.4 is told of a provider is not written yet")
    return make_dovecot(extra_config=tokens.dovecot_config())
