"""A virtual environment with pip, also on a Debian whose Python came without its venv package."""

import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

from tests.servers import debian
from tests.servers.identity import ServerUnavailable, server_identity


def make_environment(directory: Path) -> None:
    """Make the environment unless it is there."""
    if (directory / "bin/pip").exists():
        return
    if importlib.util.find_spec("ensurepip"):
        venv.create(directory, with_pip=True, clear=True)
        return
    venv.create(directory, with_pip=False, clear=True)
    wheel = _pip_wheel()
    subprocess.run([directory / "bin/python", wheel / "pip", "install", "--quiet", "--no-index", wheel], check=True)


def _pip_wheel() -> Path:
    root = debian.unpack(("python3-pip-whl",), identity=server_identity())
    return next((root / "usr/share/python-wheels").glob("pip-*.whl"))


if __name__ == "__main__":
    try:
        make_environment(Path(sys.argv[1]))
    except ServerUnavailable as error:
        sys.exit(f"{sys.executable} comes without ensurepip; install Debian's python3-venv ({error})")
