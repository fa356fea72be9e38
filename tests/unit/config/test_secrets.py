"""Passwords from files and commands, and tokens of OAuth from commands."""

import asyncio
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from syncd.config.accounts import ImapConfig
from syncd.config.secrets import password_of, token_of
from syncd.errors import SecretError

CANARY = "tr0ub4dor"


def account(**how: object) -> ImapConfig:
    return ImapConfig.model_validate({"type": "imap", "host": "imap.example.org", "username": "ana", **how})


def python(code: str) -> ImapConfig:
    """Return an account whose password command runs this Python code."""
    return account(password_command=[sys.executable, "-S", "-c", code])


async def secret(one: ImapConfig, *, timeout_s: float = 30.0) -> str:
    return (await password_of(one, timeout_s=timeout_s)).get_secret_value()


async def refusal(one: ImapConfig, *, timeout_s: float = 30.0) -> str:
    """Return the text of the error, after a look for the secret in all of its traceback."""
    with pytest.raises(SecretError) as caught:
        await password_of(one, timeout_s=timeout_s)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


async def test_inline_password_is_itself() -> None:
    """What the file says is what the server gets, spaces included."""
    assert await secret(account(password=" correct horse ")) == " correct horse "


@pytest.mark.parametrize("text", ["påss word", "påss word\n", "påss word\r\n", "påss word\nlogin: ana\n"])
async def test_first_line_of_a_file_is_the_password(tmp_path: Path, text: str) -> None:
    """Editors end files with a line end, and password stores keep notes below."""
    file = tmp_path / "isp"
    file.write_bytes(text.encode())

    assert await secret(account(password_file=str(file))) == "påss word"


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "the first line of password_file is empty"),
        (b"\n" + CANARY.encode(), "the first line of password_file is empty"),
        (CANARY.encode() + b"\xff\n", "the first line of password_file is not UTF-8"),
        (CANARY.encode() + b"\0\n", "the first line of password_file contains a character that no server accepts"),
        (CANARY.encode() * 1000, "the first line of password_file is longer than 4096 bytes"),
    ],
)
async def test_file_without_a_usable_first_line_is_refused(tmp_path: Path, octets: bytes, reason: str) -> None:
    """What no server could accept is never sent, and never shown."""
    (tmp_path / "isp").write_bytes(octets)

    assert reason == await refusal(account(password_file=str(tmp_path / "isp")))


async def test_file_that_cannot_be_read_is_a_reason_to_wait(tmp_path: Path) -> None:
    """A missing file, a directory or a FIFO without a writer is an error at once, not a daemon that hangs."""
    os.mkfifo(tmp_path / "fifo")

    missing, directory, fifo = (account(password_file=str(tmp_path / name)) for name in ("gone", "", "fifo"))

    assert await refusal(missing) == "password_file cannot be read: no such file or directory"
    assert await refusal(directory) == "password_file is not a regular file"
    assert await refusal(fifo) == "password_file is not a regular file"


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 0), (0o644, 1)])
async def test_file_for_everybody_is_pointed_out(tmp_path: Path, mode: int, warnings: int) -> None:
    """A secret that every user of the machine can read is used, with a warning that does not show it."""
    file = tmp_path / "isp"
    file.write_text(CANARY)
    file.chmod(mode)

    with structlog.testing.capture_logs() as logged:
        assert await secret(account(password_file=str(file))) == CANARY

    assert warnings == len(logged)
    assert CANARY not in str(logged)


async def test_first_line_of_a_commands_output_is_the_password() -> None:
    """The command is asked as it is: nothing of it is read by a shell."""
    assert (
        await secret(account(password_command=["printf", "%s\\nmore\\n", "a b; $(id) `id` *"])) == "a b; $(id) `id` *"
    )
    assert await secret(account(password_command=["printf", "%s", "-n"])) == "-n"


async def test_failing_command_is_an_error_without_its_words() -> None:
    """What a failing command printed, to whichever stream, may be the secret."""
    code = f"import sys; print('{CANARY}'); print('{CANARY}', file=sys.stderr); sys.exit(3)"

    assert await refusal(python(code)) == "password_command ended with status 3"


async def test_command_that_does_not_exist_is_an_error() -> None:
    """A typing slip in the command is told, not raised as a traceback."""
    reason = await refusal(account(password_command=["/nonexistent/pass", CANARY]))

    assert reason == "password_command cannot be run: /nonexistent/pass: no such file or directory"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("pass", "the first line of password_command is empty"),
        (f"print('{CANARY}' * 1000)", "the first line of password_command is longer than 4096 bytes"),
    ],
)
async def test_command_without_a_usable_first_line_is_refused(code: str, reason: str) -> None:
    """An empty answer is not an empty password."""
    assert reason == await refusal(python(code))


async def test_command_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    """A command that waits for a person who is not there ends with the deadline, and so do its children."""
    pid_file = tmp_path / "pid"
    code = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
open({str(pid_file)!r} + ".part", "w").write(str(child.pid))
import os; os.rename({str(pid_file)!r} + ".part", {str(pid_file)!r})
child.wait()
"""
    task = asyncio.create_task(password_of(python(code), timeout_s=600))
    await condition(pid_file.exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await condition(lambda: not is_running(int(pid_file.read_text())))

    reason = await refusal(python("import time; time.sleep(600)"), timeout_s=0.1)
    assert reason == "password_command did not finish within 0.1 s"


async def test_agent_that_a_command_leaves_behind_does_not_keep_us_waiting(tmp_path: Path) -> None:
    """A key agent started by the command may keep its output open for hours."""
    pid_file = tmp_path / "pid"
    code = f"""
import subprocess, sys
agent = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"], start_new_session=True)
open({str(pid_file)!r}, "w").write(str(agent.pid))
print({CANARY!r})
"""
    began = time.monotonic()
    try:
        assert await secret(python(code)) == CANARY
        assert time.monotonic() - began < 30
    finally:
        os.kill(int(pid_file.read_text()), 9)


TOKEN = "eyJ0eXAiOiJKV1Qi.eyJzdWIiOiJhbmEi.c2ln_bmF0-dXJl"


async def token(code: str, *, timeout_s: float = 30.0) -> str:
    """Return the token that Python code prints."""
    return (await token_of((sys.executable, "-S", "-c", code), timeout_s=timeout_s)).get_secret_value()


@pytest.mark.parametrize(
    "text", [TOKEN, f"{TOKEN}\\n", f"{TOKEN}\\r\\nexpires at noon\\n", "ya29.a0Af_B-x/y+z~9Q==", "x" * 32_000]
)
async def test_first_line_of_a_token_commands_output_is_the_token(text: str) -> None:
    """Tools print a line for people below; and tokens may be long."""
    assert await token(f"import sys; sys.stdout.write('{text}')") == text.partition("\\")[0]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("pass", "the first line of token_command is empty"),
        (f"print(); print('{CANARY}')", "the first line of token_command is empty"),
        (f"print('Please log in, {CANARY}')", "the first line of token_command is not a token"),
        (f"print('Bearer {CANARY}')", "the first line of token_command is not a token"),
        (f"print('{CANARY}\\1')", "the first line of token_command is not a token"),
        (f"print('{CANARY}' * 5000)", "the first line of token_command is longer than 32768 bytes"),
        (f"print('{CANARY}'); raise SystemExit(3)", "token_command ended with status 3"),
    ],
)
async def test_what_is_no_token_is_never_sent_and_never_shown(code: str, reason: str) -> None:
    """Tools complain on their standard output as well."""
    with pytest.raises(SecretError) as caught:
        await token(code)

    assert str(caught.value) == reason
    assert CANARY not in "".join(traceback.format_exception(caught.value))


async def test_token_command_that_hangs_is_ended() -> None:
    """It may wait for a person who is not there."""
    with pytest.raises(SecretError, match=r"token_command did not finish within 0\.1 s"):
        await token("import time; time.sleep(600)", timeout_s=0.1)


async def condition(is_met: Callable[[], bool]) -> None:
    """Wait until something holds, for 20 seconds at most."""
    async with asyncio.timeout(20):
        while not is_met():  # noqa: ASYNC110 - another process is what we wait for
            await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    """Tell whether a process runs; one that ended but has not been waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
