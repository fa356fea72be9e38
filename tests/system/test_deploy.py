"""The files under deploy/, judged by the systemd that is here."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
EXPOSURE_MAX = 15
"""Tenths of systemd's scale, on which an unconfined service has 95."""


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Return a copy of the unit whose program is one that exists."""
    text = (DEPLOY / "syncd.service").read_text()
    copied = tmp_path / "syncd.service"
    copied.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={shutil.which('true')}", text, flags=re.MULTILINE))
    return copied


def judged(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of systemd's own programs, or skip the test where it is not installed."""
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed, so nobody here can judge this file")
    return subprocess.run(
        [program, *arguments],
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_unit_is_understood_line_by_line(unit: Path) -> None:
    """No directive of the unit is misspelt, or too new for this systemd."""
    verdict = judged("systemd-analyze", "verify", "--man=no", str(unit))

    # NOTE: units of the machine itself may be complained of as well.
    complaints = [line for line in verdict.stderr.splitlines() if "syncd.service" in line]
    assert (verdict.returncode, complaints) == (0, [])


def test_misspelt_directive_would_be_noticed(unit: Path) -> None:
    """The judge above is awake."""
    unit.write_text(unit.read_text().replace("ProtectSystem=", "ProtectSistem="))

    verdict = judged("systemd-analyze", "verify", "--man=no", str(unit))

    assert "ProtectSistem" in verdict.stderr


def test_unit_exposes_little(unit: Path) -> None:
    """Whoever takes over syncd by a message gets hardly more than its mail."""
    verdict = judged("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", str(unit))

    assert verdict.returncode == 0, verdict.stdout.splitlines()[-1:]


def test_user_is_made_with_the_store_as_its_home(tmp_path: Path) -> None:
    """The user of the unit comes from the shipped file."""
    etc = tmp_path / "etc"
    etc.mkdir()
    verdict = judged("systemd-sysusers", f"--root={tmp_path}", str(DEPLOY / "sysusers.d" / "syncd.conf"))

    if verdict.returncode != 0 and not (etc / "passwd").exists():
        pytest.skip(f"systemd-sysusers makes no users here: {verdict.stderr.strip()}")
    made = (etc / "passwd").read_text().splitlines()
    assert [line.split(":")[5:] for line in made if line.startswith("syncd:")] == [
        ["/var/lib/syncd", "/usr/sbin/nologin"]
    ]
