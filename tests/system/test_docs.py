"""What docs/ tells people to write, or to copy from deploy/, in use."""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from syncd.config.accounts import ImapConfig, Pop3Config
from syncd.config.availability import NOT_YET
from syncd.config.model import DaemonConfig, DeviceConfig, GuardConfig, HooksConfig, StoreConfig
from syncd.config.table import keys_of
from tests.servers.daemon import Daemon
from tests.servers.dovecot import Dovecot, find_program
from tests.servers.identity import server_identity

ROOT = Path(__file__).parents[2]
DOVECOT = ROOT / "deploy" / "dovecot"
README = ROOT / "README.md"
MESSAGE = b"From: a@example.org\r\nSubject: %d\r\nMessage-ID: <%d@example.org>\r\n\r\nHello\r\n"


@pytest.fixture
def phone() -> Iterator[Path]:
    """Yield the path of a device that a server which runs as somebody else can reach."""
    root = Path(tempfile.mkdtemp(prefix="syncd-docs-", dir="/tmp"))
    root.chmod(0o755)
    try:
        yield root / "phone"
    finally:
        shutil.rmtree(root)


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    """Yield what ends things after the test."""
    with ExitStack() as stack:
        yield stack


def serving(phone: Path) -> str:
    """Return the Dovecot configuration that docs/dovecot.md names, with the places and the user of a test."""
    conf = (DOVECOT / "syncd.conf").read_text()
    (phone.parent / "syncd.acl").write_bytes((DOVECOT / "syncd.acl").read_bytes())
    (phone.parent / "syncd.acl").chmod(0o644)
    for written, ours in (
        ("/srv/mail/phone", str(phone)),
        ("/var/lib/dovecot/syncd", str(phone / ".index")),
        ("/etc/dovecot/syncd/syncd.acl", str(phone.parent / "syncd.acl")),
        ("mail_uid = syncd\nmail_gid = syncd\nfirst_valid_uid = 100\n", ""),
    ):
        assert written in conf
        conf = conf.replace(written, ours)
    return conf


def blocks(page: Path, language: str) -> list[str]:
    """Return the examples of a page in one language."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for name, text in fenced if name == language]


def give_away(root: Path) -> None:
    """Let the user that servers run as own a tree."""
    for path in (root, *root.rglob("*")):
        server_identity().give(path)


def test_program_reads_and_flags_through_dovecot_and_can_do_nothing_else(
    tmp_path: Path,
    dovecot: Dovecot,
    mail_user: str,
    make_dovecot: Callable[..., Dovecot],
    phone: Path,
    ends: ExitStack,
) -> None:
    """With the page's configuration a phone sees its mail, its flags reach the provider, its deletions are refused."""
    if find_program().version >= (2, 4):
        pytest.skip("the page is for Dovecot 2.3, and a later one is here")
    dovecot.deliver(mail_user, "INBOX", MESSAGE % (1, 1))
    dovecot.deliver(mail_user, "INBOX", MESSAGE % (2, 2), flags=("\\Seen", "Holiday"))
    dovecot.deliver(mail_user, "Entwürfe/2025", MESSAGE % (3, 3))
    account = {"type": "imap", "host": dovecot.host, "port": dovecot.imap_port, "tls": "none", "username": mail_user}
    config = {
        "accounts": {"work": account | {"password": dovecot.password}},
        "devices": {"phone": {"path": str(phone), "layout": "fs"}},
    }
    daemon = ends.push(Daemon(tmp_path / "syncd", config))
    daemon.sync()
    (phone / "isp").mkdir()
    give_away(phone)
    server = make_dovecot(tls=False, storage="maildir", extra_config=serving(phone))

    with server.imap("ana") as program:
        names = b" ".join(line for line in program.list()[1] if isinstance(line, bytes))
        program.select("INBOX")
        flags = program.uid("FETCH", "1:*", "(FLAGS)")[1]
        program.uid("STORE", "1:*", "+FLAGS", "(\\Flagged)")
        program.uid("STORE", "1:*", "+FLAGS", "(\\Deleted)")
        program.expunge()
        appended = program.append("INBOX", "", "", MESSAGE % (4, 4))[0]
        copied = program.uid("COPY", "1:*", "Trash")[0]
    daemon.sync()

    assert b"INBOX" in names
    assert b"Entw&APw-rfe/2025" in names
    assert sum(b"Holiday" in line for line in flags if isinstance(line, bytes)) == 1
    assert (appended, copied) == ("NO", "NO")
    with dovecot.imap(mail_user) as provider:
        provider.select("INBOX", readonly=True)
        at_provider = [line for line in provider.uid("FETCH", "1:*", "(FLAGS)")[1] if isinstance(line, bytes)]
    assert len(at_provider) == 2
    assert all(b"\\Flagged" in line for line in at_provider)


def test_first_configuration_of_the_readme_brings_the_mail(
    tmp_path: Path, dovecot: Dovecot, mail_user: str, ends: ExitStack
) -> None:
    """The five minutes of the README end with mail where it says, with nothing changed but the place of the server."""
    dovecot.deliver(mail_user, "INBOX", MESSAGE % (1, 1))
    config = tomllib.loads(blocks(README, "toml")[0])
    server = {"host": dovecot.host, "port": dovecot.imaps_port, "ca_file": str(dovecot.ca_file), "username": mail_user}
    config["accounts"]["work"] |= server | {"password_command": ["echo", dovecot.password]}
    daemon = ends.push(Daemon(tmp_path / "home", config))

    checked = daemon.syncd("check-config")
    synced = daemon.sync()

    assert checked.stdout.endswith(": 1 account, 1 device\n")
    assert synced.stdout == "everything is synced\n"
    assert len(list((tmp_path / "home/mail/laptop/.work.INBOX/new").iterdir())) == 1


def test_examples_of_the_readme_are_one_configuration_that_can_be_used(tmp_path: Path) -> None:
    """Who copies them all has two accounts and two devices."""
    file = tmp_path / "syncd.toml"
    file.write_text("\n".join(blocks(README, "toml")))

    ended = subprocess.run(
        [sys.executable, "-m", "syncd", "check-config", "--config", str(file)],
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.stdout == f"{file}: 2 accounts, 2 devices\n", ended.stderr


def test_page_of_the_configuration_names_the_keys_that_there_are() -> None:
    """A key that is new, or one that is gone, is noticed in its table."""
    page = (ROOT / "docs" / "configuration.md").read_text()
    table = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    named = set(re.findall(r"`([a-z0-9_]+)`", table))
    unavailable = {key[-1] for key in NOT_YET}
    known = {
        key
        for one in (StoreConfig, ImapConfig, Pop3Config, DeviceConfig, GuardConfig, HooksConfig, DaemonConfig)
        for key in keys_of(one)
        if key not in unavailable
    }

    assert known - named == set()
    assert unavailable & named == set()


def test_links_between_pages_lead_somewhere() -> None:
    """To a file that is there, and to a heading that is in it."""
    pages = {README, *(ROOT / "docs").glob("*.md")}
    headings = {
        page: {
            re.sub(r"[^a-z0-9 _-]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
            for line in page.read_text().splitlines()
            if line.startswith("#")
        }
        for page in pages
    }

    broken = [
        (page.name, link)
        for page in pages
        for link in re.findall(r"\]\(\s*([^)\s]+)\s*\)", page.read_text())
        if "://" not in link
        for path, _, heading in [link.partition("#")]
        for target in [(page.parent / path).resolve() if path else page]
        if not target.exists() or (heading and heading not in headings[target])
    ]

    assert broken == []
