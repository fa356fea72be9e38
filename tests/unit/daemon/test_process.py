"""How a process of syncd ends, whatever hangs."""

import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[3]
BEGIN = """
import asyncio, sys, time
from syncd.daemon.process.signals import Interrupted, run_interruptibly
async def work():
    print("begun", flush=True)
    try:
        await {wait}
    finally:
        print("undone", flush=True)
try:
    run_interruptibly(work(), code_if_cut_short=7)
except Interrupted:
    sys.exit(3)
"""


def ended_by(signum: signal.Signals, wait: str) -> tuple[int, str, float]:
    """Return exit code, output and seconds of a process that waits for something when a signal comes."""
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN.format(wait=wait)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    began = time.monotonic()
    process.send_signal(signum)
    output, _ = process.communicate(timeout=30)
    return process.returncode, output, time.monotonic() - began


def test_signal_cancels_the_work_which_cleans_up() -> None:
    """SIGTERM and SIGINT mean the same."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        code, output, took_s = ended_by(signum, "asyncio.Event().wait()")

        assert (code, output) == (3, "undone\n")
        assert took_s < 4


def test_thread_that_does_not_end_cannot_hold_the_process() -> None:
    """A name that does not resolve keeps a thread busy for minutes; the process still ends within five seconds."""
    code, output, took_s = ended_by(signal.SIGTERM, "asyncio.to_thread(time.sleep, 60)")

    assert code == 7
    assert output.startswith("undone\n")
    assert took_s < 5


def test_work_that_ends_by_itself_is_not_interrupted() -> None:
    """Its result is returned, and nothing is left to end the process later."""
    code = (
        "import asyncio; from syncd.daemon.process.signals import run_interruptibly;"
        "print(run_interruptibly(asyncio.sleep(0, 'done'), code_if_cut_short=7))"
    )

    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30)

    assert (ended.returncode, ended.stdout) == (0, "done\n")
