"""Floor 2: what a configuration names and is not there, as whoever asks finds it: programs, files with secrets."""

import os
import shutil
from collections.abc import Iterator

from syncd.config.model import Config
from syncd.config.sources import KeyPath
from syncd.tls import PRIVATE_DIRECTORIES


def programs(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Yield the programs that are run, each with the key of its command."""
    for name, account in config.accounts.items():
        if account.password_command is not None:
            yield ("accounts", name, "password_command"), account.password_command[0]
        if account.token_command is not None:
            yield ("accounts", name, "token_command"), account.token_command[0]
    for name, command in config.hooks.commands.items():
        yield ("hooks", name), command[0]


def is_program(name: str) -> bool:
    """Tell whether a program is found, in $PATH or where its path leads."""
    return shutil.which(name) is not None


def absences(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Yield each key that names what is not there, and what that is.

    What a service or a container gets at its start is there for nobody else, and so is not missed.
    """
    for key, program in programs(config):
        if not is_program(program):
            yield key, f"there is no program {program}, or it may not be run"
    for name, account in config.accounts.items():
        for named, file in (("password_file", account.password_file), ("client_cert", account.client_cert)):
            if file is None or any(file.is_relative_to(private) for private in PRIVATE_DIRECTORIES):
                continue
            if not os.access(file, os.R_OK):
                yield ("accounts", name, named), f"there is no file {file}, or it may not be read"
