"""A password that only the daemon is given, as by LoadCredential= of systemd, and the commands beside it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.servers.daemon import ROOT, Daemon
from tests.servers.dovecot import PASSWORD, Dovecot
from tests.system.mail import imap_account

MakeDaemon = Callable[..., Daemon]
LACK = "accounts.work: one of password, password_file, password_command, token_command, oauth, client_cert is missing"


def typed(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a terminal, which has nothing of what the daemon was given."""
    return subprocess.run(
        [sys.executable, "-m", "syncd", *words, "--config", str(daemon.config_file)],
        cwd=ROOT,
        env={"HOME": str(daemon.directory)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_commands_do_without_the_password_that_only_the_daemon_has(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """They ask the daemon, or read the store; only what logs in by itself, or starts a daemon, needs it."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "syncd_accounts__work__password").write_text(PASSWORD)
    account = {key: value for key, value in imap_account(dovecot, mail_user).items() if key != "password"}
    given = {"CREDENTIALS_DIRECTORY": str(credentials)}
    daemon = make_daemon({"work": account}, devices=("laptop",), environment=given)
    daemon.config_file.parent.chmod(0o700)

    with daemon:
        synced, checked, examined = (
            typed(daemon, *words) for words in (["sync"], ["check-config"], ["doctor", "--json"])
        )
    remembered, alone = (typed(daemon, word) for word in ("plan", "sync"))

    assert (synced.returncode, synced.stderr) == (0, "")
    assert (checked.returncode, checked.stdout) == (0, f"{daemon.config_file}: 1 account, 1 device\n")
    assert checked.stderr.endswith(f"{LACK}; the daemon has it, from elsewhere\n")
    levels = {one["check"]: one["level"] for one in json.loads(examined.stdout)["findings"]}
    assert examined.returncode == 0, examined.stdout
    assert (levels["config_elsewhere"], levels["store"], levels["certificate"]) == ("note", "ok", "ok")
    assert (remembered.returncode, remembered.stderr) == (0, "")
    assert (alone.returncode, LACK in alone.stderr) == (2, True)


def test_credential_that_leads_nowhere_keeps_no_edit_from_being_read(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """Whoever puts secrets there may be half done; what is not read is named, and the daemon goes on."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    given = {"CREDENTIALS_DIRECTORY": str(credentials)}
    with make_daemon({}, devices=("laptop",), environment=given) as daemon:
        (credentials / "syncd_accounts__work__password").symlink_to("n" * 300)

        reloaded = daemon.syncd("reload", timeout_s=30)

    assert (reloaded.returncode, reloaded.stderr) == (0, "")
