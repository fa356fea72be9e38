"""Floor 2: get an account's password, or a token of OAuth, from where the configuration says: a file, or a command."""

import asyncio
import contextlib
import os
import signal
import stat
from pathlib import Path

from pydantic import SecretStr

from syncd.config.accounts import ImapConfig, Pop3Config
from syncd.errors import SecretError, Temper
from syncd.log import log
from syncd.sasl.tokens import is_token
from syncd.tls import PRIVATE_DIRECTORIES

_MAX_BYTES = 4096
_TOKEN_MAX_BYTES = 32 * 1024
"""Tokens that say for themselves who somebody is grow with the groups that one is in."""


async def password_of(account: ImapConfig | Pop3Config, *, timeout_s: float = 30.0) -> SecretStr:
    """Return the password of an account; SecretError, which never contains any of it.

    The first line of a file or of a command's output, without its line end. The caller keeps the result until the
    server refuses it: asking may run a program, or make a person touch a key.
    """
    if account.password is not None:
        return _checked(account.password.get_secret_value(), "password")
    if account.password_file is not None:
        octets = await asyncio.to_thread(_head_of, account.password_file)
        return _checked(_first_line(octets, "password_file"), "the first line of password_file")
    if account.password_command is not None:
        octets = await _output_of(account.password_command, "password_command", timeout_s=timeout_s)
        return _checked(_first_line(octets, "password_command"), "the first line of password_command")
    raise SecretError("no password is configured", temper=Temper.GIVE_UP)


async def token_of(command: tuple[str, ...], *, timeout_s: float = 30.0) -> SecretStr:
    """Return the token of OAuth that a `token_command` prints as its first line; SecretError, which has nothing of it.

    It is for one login: whoever logs in again asks again, for tokens expire, and the command knows when.
    """
    octets = await _output_of(command, "token_command", timeout_s=timeout_s, max_bytes=_TOKEN_MAX_BYTES)
    line = _first_line(octets, "token_command", max_bytes=_TOKEN_MAX_BYTES)
    if not line:
        raise SecretError("the first line of token_command is empty")
    if not is_token(line):
        raise SecretError("the first line of token_command is not a token")
    return SecretStr(line)


def _head_of(path: Path) -> bytes:
    try:
        # NOTE: O_NONBLOCK, or a FIFO nobody writes to would hold this thread for ever.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            mode = os.fstat(file).st_mode
            if not stat.S_ISREG(mode):
                raise SecretError("password_file is not a regular file")
            if mode & stat.S_IROTH and not any(path.is_relative_to(private) for private in PRIVATE_DIRECTORIES):
                log.warning("password_file_found_world_readable", path=str(path))
            return os.read(file, _MAX_BYTES + 1)
        finally:
            os.close(file)
    except OSError as error:
        raise SecretError(f"password_file cannot be read: {(error.strerror or 'unknown').lower()}") from error


async def _output_of(command: tuple[str, ...], key: str, *, timeout_s: float, max_bytes: int = _MAX_BYTES) -> bytes:
    # NOTE: our own pipe, read after the exit: with asyncio's, an agent that the command leaves running would keep it
    # open, and us waiting. What exceeds the pipe's 64 KiB blocks the command until the deadline.
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.set_blocking(writing, True)
        process = await _started(command, key, writing)
        os.close(writing)
        writing = -1
        try:
            async with asyncio.timeout(timeout_s):
                status = await process.wait()
        except TimeoutError as error:
            raise SecretError(f"{key} did not finish within {timeout_s:g} s") from error
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if status != 0:
            raise SecretError(f"{key} ended with status {status}")
        return _available(reading, max_bytes)
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)


async def _started(command: tuple[str, ...], key: str, stdout: int) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=asyncio.subprocess.DEVNULL,  # it may quote what it was about to print
            start_new_session=True,
        )
    except OSError as error:
        why = f"{command[0]}: {(error.strerror or 'unknown').lower()}"
        raise SecretError(f"{key} cannot be run: {why}") from error


def _available(pipe: int, max_bytes: int) -> bytes:
    try:
        return os.read(pipe, max_bytes + 1)
    except BlockingIOError:
        return b""


def _first_line(octets: bytes, key: str, *, max_bytes: int = _MAX_BYTES) -> str:
    line = octets.partition(b"\n")[0].removesuffix(b"\r")
    if len(line) > max_bytes:
        raise SecretError(f"the first line of {key} is longer than {max_bytes} bytes")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        pass
    # NOTE: raised here, without a cause: the decoding error holds the octets.
    raise SecretError(f"the first line of {key} is not UTF-8")


def _checked(password: str, what: str) -> SecretStr:
    if not password:
        raise SecretError(f"{what} is empty")
    if "\0" in password or "\r" in password or "\n" in password:
        raise SecretError(f"{what} contains a character that no server accepts", temper=Temper.GIVE_UP)
    return SecretStr(password)
