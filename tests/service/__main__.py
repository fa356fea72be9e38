"""`python -m tests.service`: exit code 0 only if every step held."""

import argparse
import subprocess
import sys
import time

from tests.demo.narrator import Narrator
from tests.demo.waiting import StepFailedError
from tests.service.machine import Machine, MachineError, MachineUnavailable, a_machine
from tests.service.story import Story


def main() -> int:
    """Do what was asked for and return the exit code."""
    description = "Install syncd on a Debian whose PID 1 is systemd, and see what the service does."
    parser = argparse.ArgumentParser(prog="python -m tests.service", description=description)
    parser.add_argument("--messages", type=int, default=1_000, help="how many are on the IMAP server")
    options = parser.parse_args()
    narrator = Narrator(())
    began = time.monotonic()
    try:
        with a_machine() as machine:
            try:
                Story(machine, narrator, count=options.messages).play()
            except (MachineError, StepFailedError, subprocess.SubprocessError):
                _show_last_lines(machine, narrator)
                raise
    except MachineUnavailable as error:
        narrator.say(f"FAILED: no machine with a systemd of its own can be had here: {error}")
        return 1
    except (MachineError, StepFailedError, subprocess.SubprocessError) as error:
        narrator.say(f"FAILED: {error}")
        return 1
    narrator.say()
    narrator.say(f"Every step held, in {time.monotonic() - began:.0f} s.")
    return 0


def _show_last_lines(machine: Machine, narrator: Narrator) -> None:
    for command in (("systemctl", "status", "--no-pager", "syncd"), ("journalctl", "--no-pager", "--lines=25")):
        try:
            narrator.say(machine.attempt(*command).stdout.decode(errors="replace"))
        except (OSError, subprocess.SubprocessError):
            return


if __name__ == "__main__":
    sys.exit(main())
