"""What is built is complete: a wheel installed elsewhere can make its store and explain itself."""

import os
import sqlite3
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
[store]
url = "sqlite:///{state}/syncd.db"

[accounts.work]
type = "imap"
host = "imap.example.org"
username = "ana"
password_file = "{state}/password"

[devices.laptop]
path = "{state}/laptop"
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with an sdist, and the wheel that was built from this sdist."""
    directory = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(directory), str(ROOT), cwd=directory)
    return directory


@pytest.fixture(scope="module")
def elsewhere(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the `bin` of another environment with the wheel in it, which sees our installed dependencies only."""
    home = tmp_path_factory.mktemp("elsewhere")
    venv.create(home, with_pip=False)
    (wheel,) = built.glob("*.whl")
    _run(sys.executable, "-m", "pip", "--python", str(home), "install", "--no-index", "--no-deps", str(wheel), cwd=home)
    # NOTE: of a directory that is named in a .pth file no .pth files are read, so the checkout stays out of sight.
    (site,) = home.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def test_the_wheel_holds_program_migrations_licence_and_type_marker(built: Path) -> None:
    """Everything that runs or must be shipped is in the wheel, and nothing that only tests."""
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    assert {"syncd/py.typed", "syncd/_migrations/env.py"} <= set(names)
    assert any(name.startswith("syncd/_migrations/versions/") and name.endswith(".py") for name in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert any(name.endswith(".data/data/share/man/man1/syncd.1") for name in names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"syncd"}
    assert not [name for name in names if "__pycache__" in name]


def test_the_sdist_holds_what_a_developer_needs(built: Path) -> None:
    """From an sdist one can build, test and develop."""
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as content:
        names = {name.partition("/")[2] for name in content.getnames()}

    assert {"pyproject.toml", "Makefile", "LICENSE", "README.md", "CHANGELOG.md", "requirements-dev.txt"} <= names
    assert {"migrations/env.py", "tests/conftest.py", "syncd/__init__.py"} <= names


def test_an_installed_wheel_explains_itself(elsewhere: Path, tmp_path: Path) -> None:
    """The command is there, and it is the wheel that answers, not the checkout."""
    where = _run(str(elsewhere / "python"), "-c", "import syncd; print(syncd.__file__)", cwd=tmp_path)
    text = _run(str(elsewhere / "syncd"), "--help", cwd=tmp_path)

    assert Path(where.strip()).is_relative_to(elsewhere.parent)
    assert "migrate" in text


def test_an_installed_wheel_makes_its_store(elsewhere: Path, tmp_path: Path) -> None:
    """`syncd migrate` finds its migrations inside the wheel, and running it again changes nothing."""
    (tmp_path / "syncd.toml").write_text(CONFIG.format(state=tmp_path))
    (tmp_path / "password").write_text("secret")

    revisions = []
    for _ in range(2):
        _run(str(elsewhere / "syncd"), "migrate", cwd=tmp_path, config=tmp_path / "syncd.toml")
        with sqlite3.connect(tmp_path / "syncd.db") as store:
            revisions.append(store.execute("SELECT version_num FROM alembic_version").fetchall())
        store.close()

    assert len(revisions[0]) == 1
    assert revisions[0] == revisions[1]


def _run(*command: str, cwd: Path, config: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SYNCD_"))}
    environment |= {"SYNCD_CONFIG": str(config)} if config else {}
    environment |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
