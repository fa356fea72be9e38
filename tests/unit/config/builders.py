"""Configurations for tests, from pieces of TOML."""

from collections.abc import Mapping
from pathlib import Path

from syncd.config.load import Reading, read
from syncd.config.model import Config
from syncd.config.problems import ConfigError

IMAP = """\
[accounts.work]
type = "imap"
host = "imap.example.org"
username = "ana"
password = "correct horse"
"""
POP3 = """\
[accounts.isp]
type = "pop3"
host = "pop.example.net"
username = "ana"
password = "battery staple"
"""
LAPTOP = """\
[devices.laptop]
path = "laptop"
"""


def load(file: Path | None = None, *, environ: Mapping[str, str]) -> Config:
    """Return the configuration that these variables lead to, or of this file."""
    return read(file, environ=environ, needs_logins=True).config


def reading(directory: Path, text: str, environ: Mapping[str, str] | None = None) -> Reading:
    """Read a configuration with this text; only these variables, and credentials only of `secrets` in `directory`."""
    file = directory / "syncd.toml"
    file.write_text(text, "utf-8")
    file.chmod(0o600)
    variables = {"HOME": str(directory / "home"), **(environ or {})}
    return read(file, environ=variables, secrets_directory=directory / "secrets", needs_logins=True)


def problems(directory: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the lines of the report, without the directory."""
    try:
        reading(directory, text, environ)
    except ConfigError as error:
        return [str(problem).replace(f"{directory}/", "") for problem in error.problems]
    return []
