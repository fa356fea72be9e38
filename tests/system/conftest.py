"""Daemons for the tests of commands and processes; each ends with its test."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers.daemon import Daemon


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
