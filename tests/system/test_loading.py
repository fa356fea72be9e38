"""What a command loads before it does anything: for one that is run every few minutes, most of its time."""

import subprocess
import sys
from collections.abc import Callable

from tests.servers.daemon import ROOT, Daemon
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_ports
from tests.system.mail import deliver, imap_account

MakeDaemon = Callable[..., Daemon]
CHANGING = {
    "syncd.sync.rounds.server_round",
    "syncd.sync.rounds.replica_round",
    "syncd.sync.imap.mailbox",
    "syncd.sync.rounds.arrivals",
}

CODE = """
import os, sys, syncd.__main__
os._exit = sys.exit  # else it would end before it tells
try: syncd.__main__.main()
except SystemExit: pass
print('loaded:', *sys.modules)
"""


def loaded_by(*command: str) -> set[str]:
    """Return the modules that a command has loaded when it ends."""
    ended = subprocess.run(
        [sys.executable, "-c", CODE, *command], cwd=ROOT, env={}, capture_output=True, text=True, timeout=60, check=True
    )
    loaded = ended.stdout.splitlines()[-1].split()
    assert loaded[0] == "loaded:"
    return set(loaded)


def test_sync_without_a_daemon_loads_only_what_it_uses(make_daemon: MakeDaemon) -> None:
    """It loads nothing that serves, asks or describes a daemon, draws, or speaks to another database or protocol."""
    port = free_ports(1)[0]  # nobody listens
    account = {
        "type": "imap",
        "host": "127.0.0.1",
        "port": port,
        "tls": "none",
        "username": "somebody",
        "password": "secret",
    }
    daemon = make_daemon({"work": account})
    daemon.syncd("migrate")  # a store that is not at head needs alembic

    loaded = loaded_by("sync", "--config", str(daemon.config_file))

    assert loaded > {
        "syncd.daemon.alone",
        "syncd.imap.connection",
        "syncd.store.bodies.bodies",
        "syncd.maildir.news.observe",
    }
    of_the_daemon = {
        "aiohttp",
        "http.client",
        "syncd.daemon.control.socket",
        "syncd.daemon.people.answers",
        "syncd.daemon.status.status",
    }
    of_the_daemon |= {"syncd.config.changes", "syncd.store.people.recall", "syncd.maildir.news.watch"}
    of_others = {"sqlalchemy.dialects.postgresql", "syncd.pop3.connection", "pydantic_settings", "cryptography"}
    of_nobody = {"typer", "rich", "alembic"}
    assert loaded & (of_the_daemon | of_others | of_nobody) == set()


def test_sync_that_finds_nothing_loads_nothing_that_pushes_or_delivers(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon
) -> None:
    """A quarter of syncd is about what has changed: it is loaded when something has."""
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)})
    deliver(dovecot, mail_user, 1)

    loaded_at_first = loaded_by("sync", "--config", str(daemon.config_file))
    loaded = loaded_by("sync", "--config", str(daemon.config_file))

    assert loaded_at_first >= {"syncd.sync.rounds.replica_round", "syncd.sync.imap.mailbox"}
    assert loaded & CHANGING == set()


def test_command_that_needs_no_store_loads_none(make_daemon: MakeDaemon) -> None:
    """Help, and asking for a daemon that is not there, cost neither a database nor an event loop."""
    daemon = make_daemon({})

    for command in (("--help",), ("sync", "--help"), ("health", "--config", str(daemon.config_file))):
        loaded = loaded_by(*command)

        assert "syncd.cli.main" in loaded
        assert loaded & {"sqlalchemy", "asyncio", "http.client", "structlog", "rich", "pydantic_settings"} == set(), (
            command
        )


def test_names_for_completion_cost_no_reader_of_configurations(make_daemon: MakeDaemon) -> None:
    """At a tabulator nobody waits: what reads and judges a configuration is most of what a command loads."""
    daemon = make_daemon({})

    loaded = loaded_by("names", "devices", "--config", str(daemon.config_file))

    assert "tomllib" in loaded
    assert loaded & {"pydantic", "syncd.config.model", "sqlalchemy", "asyncio", "rich", "msgspec"} == set()


def test_daemon_loads_what_it_needs_at_its_start(make_daemon: MakeDaemon) -> None:
    """The first change waits for no module. Metrics cost nothing, not even memory, where nobody asked for them."""
    port = free_ports(1)[0]
    daemon = make_daemon({})
    daemon.socket.parent.mkdir()
    daemon.socket.write_text("in the place of the socket, so that the daemon ends once it has loaded all")

    loaded = loaded_by("run", "--config", str(daemon.config_file))
    daemon.configure({"daemon": {"listen": f"127.0.0.1:{port}"}})
    loaded_watched = loaded_by("run", "--config", str(daemon.config_file))

    assert loaded > {"aiohttp", "syncd.daemon.control.socket", "syncd.daemon.serving.app", *CHANGING}
    assert (
        loaded & {"prometheus_client", "syncd.daemon.monitoring.figures", "syncd.daemon.monitoring.listener"} == set()
    )
    assert loaded_watched > {"prometheus_client", "syncd.daemon.monitoring.figures", "syncd.daemon.monitoring.listener"}
