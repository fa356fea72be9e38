"""What deploy/ puts on a machine, judged by the systemd that is here."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SYSTEMD = DEPLOY / "systemd"


def run(*command: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of the machine."""
    return subprocess.run(
        [str(one) for one in command],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )


def judged(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run one of systemd's own programs, or skip the test where it is not installed."""
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed, so nobody here can judge this file")
    return run(program, *arguments)


def installed(destination: Path, prefix: str, *, home: str = "/root") -> dict[str, str]:
    """Install what goes beside the program; return the texts by their path."""
    done = run("make", "files", f"DESTDIR={destination}", f"PREFIX={prefix}", env={"HOME": home})
    assert done.returncode == 0, done.stderr
    return {f"/{one.relative_to(destination)}": one.read_text() for one in destination.rglob("*") if one.is_file()}


def shared(prefix: str) -> set[str]:
    """Return what is installed for people and their shells and editors, where each of them looks for it."""
    names = (
        "bash-completion/completions/syncd",
        "fish/vendor_completions.d/syncd.fish",
        "man/man1/syncd.1",
        "man/man5/syncd.toml.5",
        "syncd/syncd.example.toml",
        "syncd/syncd.toml.schema.json",
        "zsh/site-functions/_syncd",
    )
    return {f"{prefix}/share/{name}" for name in names}


def programs(unit: str) -> set[str]:
    """Return what a unit runs."""
    return set(re.findall(r"^Exec\w+=(\S+)", unit, re.MULTILINE))


@pytest.mark.parametrize(
    ("unit", "good", "bad"),
    [
        ("syncd.service", "ProtectSystem=", "ProtectSistem="),
        ("user/syncd.service", "WatchdogSec=", "WachdogSec="),
        ("syncd.service", "RestrictNamespaces=yes\nRestrictRealtime=yes\n", ""),
        ("syncd.service", "CapabilityBoundingSet=\n", ""),
    ],
)
def test_unit_that_got_worse_is_noticed(tmp_path: Path, unit: str, good: str, bad: str) -> None:
    """The judge of `make check` is awake: a slip, and a door that was left open."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed, so nobody here can judge a unit")
    units = shutil.copytree(SYSTEMD, tmp_path / "units")
    text = (units / unit).read_text()
    (units / unit).write_text(text.replace(good, bad))

    verdict = run("sh", SYSTEMD / "check.sh", units)

    assert good in text
    assert verdict.returncode != 0


def test_machine_without_systemd_says_that_nobody_judged(tmp_path: Path) -> None:
    """No silence that could be taken for a good verdict."""
    verdict = run("/bin/sh", SYSTEMD / "check.sh", SYSTEMD, env={"PATH": str(tmp_path)})

    assert verdict.returncode == 0
    assert "skipped: systemd-analyze is not here" in verdict.stdout


@pytest.mark.parametrize(
    ("prefix", "announced"), [("/usr/local", "/usr/local/lib"), ("/usr", "/usr/lib"), ("/opt/syncd", "/etc")]
)
def test_installed_units_start_the_program_that_is_installed(tmp_path: Path, prefix: str, announced: str) -> None:
    """Units, user and directories are where systemd looks for them, and nothing knows of the place of a package."""
    files = installed(tmp_path, prefix)

    assert files.keys() == {
        f"{announced}/systemd/system/syncd.service",
        f"{announced}/systemd/user/syncd.service",
        f"{announced}/sysusers.d/syncd.conf",
        f"{announced}/tmpfiles.d/syncd.conf",
        *shared(prefix),
    }
    for kind in ("system", "user"):
        assert programs(files[f"{announced}/systemd/{kind}/syncd.service"]) == {f"{prefix}/bin/syncd"}
    assert not [path for path, text in files.items() if str(tmp_path) in text]
    removed = run("make", "uninstall", f"DESTDIR={tmp_path}", f"PREFIX={prefix}")
    assert removed.returncode == 0, removed.stderr
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == []


def test_person_installs_for_themselves_without_touching_the_machine(tmp_path: Path) -> None:
    """Below the home directory there is only the unit of a user, where systemd looks for it."""
    files = installed(tmp_path, "/home/ana/.local", home="/home/ana")

    assert files.keys() == {
        "/home/ana/.local/share/systemd/user/syncd.service",
        *shared("/home/ana/.local"),
    }
    assert programs(files["/home/ana/.local/share/systemd/user/syncd.service"]) == {"/home/ana/.local/bin/syncd"}


def test_unit_of_a_user_names_the_place_where_it_is_installed_for_one() -> None:
    """As it is in the source it works for everybody who has the program there."""
    assert programs((SYSTEMD / "user" / "syncd.service").read_text()) == {"%h/.local/bin/syncd"}


def test_user_is_made_with_the_store_as_its_home(tmp_path: Path) -> None:
    """The user of the unit comes from the shipped file."""
    etc = tmp_path / "etc"
    etc.mkdir()
    verdict = judged("systemd-sysusers", f"--root={tmp_path}", SYSTEMD / "sysusers.d" / "syncd.conf")

    if verdict.returncode != 0 and not (etc / "passwd").exists():
        pytest.skip(f"systemd-sysusers makes no users here: {verdict.stderr.strip()}")
    made = (etc / "passwd").read_text().splitlines()
    assert [line.split(":")[5:] for line in made if line.startswith("syncd:")] == [
        ["/var/lib/syncd", "/usr/sbin/nologin"]
    ]


def test_directories_are_made_with_their_rights(tmp_path: Path) -> None:
    """What may hold passwords, and mail, are for nobody else; directories that are there stay as they are."""
    for name, line in (("passwd", "syncd:x:0:0::/:/bin/false\n"), ("group", "syncd:x:0:\n")):
        (tmp_path / "etc").mkdir(exist_ok=True)
        (tmp_path / "etc" / name).write_text(line)
    make = ("systemd-tmpfiles", "--create", f"--root={tmp_path}", SYSTEMD / "tmpfiles.d" / "syncd.conf")

    verdict = judged(*make)

    if verdict.returncode != 0:
        pytest.skip(f"systemd-tmpfiles makes no directories here: {verdict.stderr.strip()}")
    directories = (tmp_path / "etc" / "syncd", tmp_path / "srv" / "mail")
    file = directories[0] / "syncd.toml"
    assert [mode_of(path) for path in directories] == [0o750, 0o700]

    password = directories[0] / "work.password"
    file.touch(mode=0o644)
    password.touch(mode=0o600)
    for path in directories:
        path.chmod(0o755)
    judged(*make)

    assert (mode_of(file), mode_of(password)) == (0o640, 0o640), "the service could not read it"
    assert [mode_of(path) for path in directories] == [0o755, 0o755], "somebody else's directory was taken over"


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o7777
