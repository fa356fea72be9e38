"""Commands that are handed a document: as it is, within their time, and at nobody's cost."""

import asyncio
import os
import resource
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from syncd.daemon.hooks.commands import Ended, environment_of, run_command

DEADLINE_S = 20.0
ODD = '$(touch pwned) `touch pwned`; rm -rf "$HOME" \'--help\' -rf\n\0{"花": "\\"}'


async def run(
    *command: str,
    document: bytes = b"{}\n",
    timeout_s: float = DEADLINE_S,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run a command with a PATH and little patience."""
    found = environment if environment is not None else {"PATH": os.environ["PATH"]}
    return await run_command(command, document, environment=found, timeout_s=timeout_s, patience_s=0.2)


def shell(script: str, *arguments: str) -> tuple[str, ...]:
    """Return the command of a person who wants a shell."""
    return "sh", "-c", script, *arguments


async def test_document_and_arguments_arrive_as_they_are(tmp_path: Path) -> None:
    """No shell reads them, so no name of a mailbox does anything (S22)."""
    ended = await run(*shell('cat > "$0"; printf %s "$1"', str(tmp_path / "-got"), ODD[:29]), document=ODD.encode())

    assert ended == Ended(None, ODD[:29])
    assert (tmp_path / "-got").read_bytes() == ODD.encode()


async def test_command_that_reads_nothing_of_a_long_document_ends_well() -> None:
    """`notmuch new` does not read it, and a pipe would be full."""
    assert await run("true", document=b"x" * 1_000_000) == Ended(None)


async def test_much_that_is_said_is_read_and_its_end_is_kept() -> None:
    """It fills no memory and holds up no command; addresses are taken out."""
    script = "yes 0123456789 | head -c 3300000 >&2; echo to bo@example.org; echo last words >&2; exit 3"
    ended = await run(*shell(script))

    assert (ended.problem, ended.stdout) == ("it ended with status 3", "to <address>")
    assert ended.stderr.endswith("0123456789\nlast words")
    assert len(ended.stderr) <= 500


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (("/there/is/no/such",), "/there/is/no/such cannot be run: no such file or directory"),
        (("/",), "/ cannot be run: permission denied"),
        (shell("kill -9 $$"), "it was ended by signal 9"),
        (shell("exit 7"), "it ended with status 7"),
    ],
)
async def test_command_that_fails_says_how(command: tuple[str, ...], problem: str) -> None:
    """In words for a person, and never by an exception."""
    assert (await run(*command)).problem == problem


async def test_machine_that_has_no_room_for_a_command_is_no_more_than_that() -> None:
    """Where no file can be opened it is not run, and tried again like one that fails."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        ended = await run("true")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert ended == Ended("true cannot be run: too many open files")


async def test_command_that_takes_too_long_is_ended_with_all_it_started() -> None:
    """Also one that does not want to hear of it, and the programs that it has started."""
    ended = await run(*shell("trap '' TERM; sleep 600 & echo $$ $!; wait; wait"), timeout_s=0.5)

    assert ended.problem == "it did not end within 0.5 s"
    await until(lambda: not any(map(is_alive, ended.stdout.split())))


async def test_program_that_a_command_leaves_running_keeps_nobody_waiting() -> None:
    """It may show a notification for as long as it likes, with what it inherited open."""
    ended = await run(*shell("sleep 600 & echo $!"))

    assert ended.problem is None
    assert is_alive(ended.stdout)
    os.kill(int(ended.stdout), 9)


async def test_command_is_ended_shortly_after_we_are_cancelled(tmp_path: Path) -> None:
    """A daemon that stops leaves none behind."""
    script = 'echo $$ > "$0.new"; mv "$0.new" "$0"; exec sleep 600'
    task = asyncio.create_task(run(*shell(script, str(tmp_path / "pid"))))
    await until((tmp_path / "pid").exists)

    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=2.5)  # what the daemon gives its tasks

    assert done == {task}
    assert task.cancelled()
    assert not is_alive((tmp_path / "pid").read_text())


async def test_environment_has_what_a_program_needs_and_no_secret() -> None:
    """Where the daemon got a password from does not reach what it runs."""
    ours = {
        "PATH": os.environ["PATH"],
        "HOME": "/home/ana",
        "LC_ALL": "C.UTF-8",
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/1000/bus",
        "XDG_RUNTIME_DIR": "/run/user/1000",
        "SYNCD_ACCOUNTS__WORK__PASSWORD": "s3cret",
        "PGPASSWORD": "s3cret",
        "CREDENTIALS_DIRECTORY": "/run/credentials/syncd.service",
        "NOTIFY_SOCKET": "/run/systemd/notify",
        "LD_PRELOAD": "/x.so",
    }
    ended = await run("env", environment=environment_of(ours, SYNCD_HOOK="on_hold"))

    names = {line.partition("=")[0] for line in ended.stdout.split("\n")}
    assert names == {"PATH", "HOME", "LC_ALL", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "SYNCD_HOOK"}


def is_alive(pid: str) -> bool:
    """Tell whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - nothing signals what a test looks at
            await asyncio.sleep(0.01)
