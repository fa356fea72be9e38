"""What is installed with syncd is what was chosen: each package is pinned, with the hashes of what was read."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_ENTRY = re.compile(
    r"(?P<name>[a-z0-9._-]+)(?:\[[a-z,]+\])?==[^\s;]+(?: ;[^\\]+)?(?P<hashes>(?:\s+--hash=sha256:[0-9a-f]{64})+)"
)
_DEPENDENCY = re.compile(r'^    "([A-Za-z0-9._-]+)', re.MULTILINE)


def entries(name: str) -> list[str]:
    return (ROOT / name).read_text().replace(" \\\n", " ").splitlines()


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "requirements-build.txt"])
def test_every_package_is_pinned_with_hashes(name: str) -> None:
    """No version is left to the day of the installation, and no octet to the registry."""
    found = entries(name)

    wrong = [entry[:60] for entry in found if not _ENTRY.fullmatch(entry)]
    assert found
    assert wrong == []


def test_every_dependency_of_syncd_is_among_them() -> None:
    """What pyproject asks for is pinned; a new dependency is not forgotten."""
    project = (ROOT / "pyproject.toml").read_text()
    wanted = _DEPENDENCY.findall(project.partition("dependencies = [")[2].partition("]")[0])

    pinned = {match["name"] for match in map(_ENTRY.fullmatch, entries("requirements.txt")) if match is not None}
    assert "sqlalchemy" in {name.lower() for name in wanted}
    assert {name.lower().replace("_", "-").replace(".", "-") for name in wanted} <= pinned


def test_they_are_installed_by_hash_wherever_they_are() -> None:
    """Make, the container image and `make install` accept nothing else."""
    for name in ("Makefile", "deploy/docker/Dockerfile", "deploy/install.mk"):
        text = (ROOT / name).read_text().replace("\\\n", " ")
        installs = [line for line in text.splitlines() if " install " in line and "--requirement" in line]
        assert installs, name
        assert all("--require-hashes" in line for line in installs), name
