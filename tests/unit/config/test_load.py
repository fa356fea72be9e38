"""Finding the file, defaults for paths, and what a valid configuration becomes."""

from pathlib import Path

import pytest

from syncd.config import places
from syncd.config.accounts import ImapConfig, Pop3Config, Tls
from syncd.config.load import read
from syncd.config.model import Layout, LogFormat, Watch
from syncd.config.problems import ConfigError
from tests.unit.config.builders import IMAP, LAPTOP, POP3, load, problems, reading


def test_shortest_configuration_has_the_defaults_of_the_contract(tmp_path: Path) -> None:
    """A key that is left out has the value that the contract shows."""
    config = reading(tmp_path, IMAP + POP3 + LAPTOP).config

    work, isp, laptop = config.accounts["work"], config.accounts["isp"], config.devices["laptop"]
    assert isinstance(work, ImapConfig)
    assert (work.port, work.tls, work.mailboxes, work.poll_interval_s) == (993, Tls.IMPLICIT, ("*",), 300.0)
    assert isinstance(isp, Pop3Config)
    assert (isp.port, isp.keep_s, isp.poll_interval_s, isp.max_message_size_bytes) == (995, 0.0, 120.0, 100_000_000)
    assert (tmp_path / "laptop", None, ("*",)) == (laptop.path, laptop.accounts, laptop.mailboxes)
    assert (
        laptop.layout,
        laptop.max_age_s,
        laptop.max_size_bytes,
        laptop.read_only,
    ) == (Layout.MAILDIRPP, None, None, False)
    assert (laptop.link, laptop.settle_s, laptop.watch) == (True, 1.0, Watch.AUTO)
    assert (config.guard.count, config.guard.share, config.guard.window_s) == (25, 0.2, 600.0)
    assert (config.daemon.log_format, config.daemon.log_level, config.daemon.listen) == (LogFormat.AUTO, "info", None)
    assert (config.store.retention_s, config.store.auto_migrate) == (30 * 86400.0, True)


def test_empty_file_is_a_configuration_without_accounts(tmp_path: Path) -> None:
    """A person may begin with nothing."""
    config = reading(tmp_path, "").config

    assert (config.accounts, config.devices) == ({}, {})


@pytest.mark.parametrize(("tls", "imap", "pop3"), [("implicit", 993, 995), ("starttls", 143, 110), ("none", 143, 110)])
def test_port_follows_encryption(tmp_path: Path, tls: str, imap: int, pop3: int) -> None:
    """A port that is not given is the protocol's for that kind of encryption."""
    more = f'tls = "{tls}"\nallow_plaintext = true\n'
    config = reading(tmp_path, IMAP + more + POP3 + more).config

    assert (imap, pop3) == (config.accounts["work"].port, config.accounts["isp"].port)


def test_postgresql_store_is_not_migrated_unasked(tmp_path: Path) -> None:
    """Only SQLite, which one machine owns, upgrades itself by default."""
    url = "postgresql://ana@db.example.org/syncd"
    config = reading(tmp_path, f'[store]\nurl = "{url}"').config

    assert (url, None, False) == (
        config.store.url.get_secret_value(),
        config.store.sqlite_path,
        config.store.auto_migrate,
    )
    assert reading(tmp_path, f'[store]\nurl = "{url}"\nauto_migrate = true').config.store.auto_migrate


def test_relative_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the daemon was started from does not matter; `~` is the home directory."""
    monkeypatch.setenv("HOME", "/home/ana")
    config = reading(
        tmp_path,
        '[store]\nurl = "sqlite:///data/syncd.db"\n[devices.a]\npath = "mail"\n[devices.b]\npath = "~/mail"\n'
        '[daemon]\nsocket = "run/sock"',
    ).config

    assert tmp_path / "data/syncd.db" == config.store.sqlite_path
    assert f"sqlite:///{tmp_path}/data/syncd.db" == config.store.url.get_secret_value()
    assert (tmp_path / "mail", Path("/home/ana/mail")) == (config.devices["a"].path, config.devices["b"].path)
    assert tmp_path / "run/sock" == config.daemon.socket


@pytest.mark.parametrize(
    ("environ", "store", "socket"),
    [
        (
            {"STATE_DIRECTORY": "/var/lib/syncd:/var/lib/more", "RUNTIME_DIRECTORY": "/run/syncd"},
            "/var/lib/syncd/syncd.db",
            "/run/syncd/syncd.sock",
        ),
        (
            {"XDG_STATE_HOME": "/x/state", "XDG_RUNTIME_DIR": "/x/run"},
            "/x/state/syncd/syncd.db",
            "/x/run/syncd/syncd.sock",
        ),
        (
            {"HOME": "/home/ana", "XDG_STATE_HOME": "not/absolute"},
            "/home/ana/.local/state/syncd/syncd.db",
            "/home/ana/.local/state/syncd/syncd.sock",
        ),
    ],
)
def test_default_paths_follow_where_the_process_runs(
    tmp_path: Path, environ: dict[str, str], store: str, socket: str
) -> None:
    """Under systemd its directories, else those of XDG; a relative XDG directory is ignored, as its standard says."""
    config = reading(tmp_path, "", environ).config

    assert (Path(store), Path(socket)) == (config.store.sqlite_path, config.daemon.socket)


def test_file_is_the_named_one_else_that_of_the_variable_else_of_xdg(tmp_path: Path) -> None:
    """The nearest naming of a file wins; the others are not read."""
    for place in ("named", "variable", "xdg/syncd/syncd"):
        file = tmp_path / f"{place}.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"[guard]\ncount = {len(place)}\n")
    xdg = {"XDG_CONFIG_HOME": str(tmp_path / "xdg"), "HOME": str(tmp_path)}
    both = {"SYNCD_CONFIG": str(tmp_path / "variable.toml"), **xdg}

    assert len("named") == load(tmp_path / "named.toml", environ=both).guard.count
    assert len("variable") == load(environ=both).guard.count
    if not places.SYSTEM_FILE.exists():
        assert tmp_path / "xdg/syncd/syncd.toml" == read(environ=xdg, needs_logins=True).path


def test_missing_file_is_one_problem_that_names_the_places(tmp_path: Path) -> None:
    """A person learns where syncd looked; a file that was named is never replaced by another."""
    gone = tmp_path / "gone.toml"
    with pytest.raises(ConfigError, match=r"gone\.toml: cannot be read: No such file"):
        load(gone, environ={})
    with pytest.raises(ConfigError, match=r"no configuration found at .*gone\.toml: syncd init makes a first one"):
        load(environ={"SYNCD_CONFIG": str(gone), "XDG_CONFIG_HOME": str(tmp_path)})


def test_own_file_is_read_where_that_of_the_system_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first readable file counts; one that cannot be read is named when there is no other."""
    system, own = tmp_path / "etc" / "syncd.toml", tmp_path / "xdg" / "syncd" / "syncd.toml"
    monkeypatch.setattr(places, "SYSTEM_FILE", system)
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "xdg"), "HOME": str(tmp_path)}
    own.parent.mkdir(parents=True)
    own.write_text("[guard]\ncount = 7")
    assert load(environ=environ).guard.count == 7

    system.mkdir(parents=True)
    own.unlink()
    with pytest.raises(ConfigError, match=r"etc/syncd\.toml: cannot be read"):
        load(environ=environ)


def test_device_selects_its_accounts(tmp_path: Path) -> None:
    """A device that names no accounts has all of them; one that names none has none."""
    device = '[devices.{}]\npath = "{}"\n'
    config = reading(
        tmp_path,
        IMAP
        + POP3
        + device.format("all", "a")
        + device.format("one", "b")
        + 'accounts = ["isp"]\n'
        + device.format("none", "c")
        + "accounts = []\n",
    ).config

    assert [tuple(config.accounts_of(name)) for name in ("all", "one", "none")] == [("work", "isp"), ("isp",), ()]


def test_inline_password_in_a_file_for_everybody_is_a_warning(tmp_path: Path) -> None:
    """A password that any user of the machine can read is pointed out, without showing it."""
    file = tmp_path / "syncd.toml"
    file.write_text(IMAP)
    file.chmod(0o644)
    (warning,) = read(file, environ={"HOME": "/"}, needs_logins=True).warnings
    assert "can be read by every user" in str(warning)

    file.chmod(0o640)
    assert read(file, environ={"HOME": "/"}, needs_logins=True).warnings == ()


def test_configuration_cannot_be_changed(tmp_path: Path) -> None:
    """Whoever holds a configuration knows that it stays as it was checked."""
    config = reading(tmp_path, IMAP).config

    with pytest.raises(ValueError, match="frozen"):
        config.guard.count = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("listen", "at"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("[::1]:65535", ("::1", 65535)),
        ("[::ffff:127.0.0.1]:1", ("::ffff:127.0.0.1", 1)),
        ("localhost:80", ("localhost", 80)),
    ],
)
def test_address_to_listen_on_is_host_and_port(tmp_path: Path, listen: str, at: tuple[str, int]) -> None:
    """IPv6 addresses stand in brackets, as in any URL."""
    config = reading(tmp_path, f'[daemon]\nlisten = "{listen}"').config

    assert config.daemon.listen_at == at


@pytest.mark.parametrize("listen", ["9464", ":9464", "::1:9464", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x"])
def test_address_that_is_none_is_an_error_of_its_key(tmp_path: Path, listen: str) -> None:
    """Nothing is guessed: each is refused before anybody listens anywhere."""
    (report,) = problems(tmp_path, f'[daemon]\nlisten = "{listen}"')

    assert report.startswith("syncd.toml:2: daemon.listen: should ")


def test_who_logs_in_nowhere_needs_no_password_but_hears_of_it_among_other_problems(tmp_path: Path) -> None:
    """A service manager may give it to the daemon only; a file with anything else wrong has all of it reported."""
    file = tmp_path / "syncd.toml"
    ways = "password, password_file, password_command, token_command, oauth, client_cert"
    lack = f"accounts.work: one of {ways} is missing"
    file.write_text('[accounts.work]\ntype = "imap"\nhost = "imap.example.org"\nusername = "ana"\n')

    found = read(file, environ={}, needs_logins=False)
    with pytest.raises(ConfigError) as needed:
        read(file, environ={}, needs_logins=True)
    file.write_text(f"{file.read_text()}[gaurd]\n")
    with pytest.raises(ConfigError) as other:
        read(file, environ={}, needs_logins=False)

    assert ([f"{file}:1: {lack}"], "ana") == (
        list(map(str, found.without_login)),
        found.config.accounts["work"].username,
    )
    assert found.without_login == needed.value.problems
    assert [f"{file}:1: {lack}", "gaurd"] == [str(other.value.problems[0]), other.value.problems[1].key]
