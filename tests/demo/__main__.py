"""`python -m tests.demo`: exit code 0 only if every step of the story held; nothing is left behind."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from tests.demo.letters import Years
from tests.demo.narrator import Narrator
from tests.demo.stage import DEVICES, WORK, Stage, set_stage
from tests.demo.story import PLACES, Story
from tests.demo.waiting import StepFailedError
from tests.servers.dovecot import PASSWORD
from tests.servers.identity import ServerUnavailable

HELD, FAILED, INTERRUPTED = 0, 1, 130


def main() -> int:
    """Play the demo and return its exit code."""
    options = _options()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    narrator = Narrator(PLACES)
    narrator.say("syncd: one IMAP account, one POP3 account, three devices, a real mail server.")
    narrator.say()
    try:
        began = time.monotonic()
        password = "not-the-password" if options.break_login else PASSWORD
        with set_stage(directory=options.directory, password=password) as stage:
            return _perform(stage, narrator, options, began=began)
    except ServerUnavailable as error:
        narrator.say(f"    There is no mail server to play against: {error}")
        return FAILED
    except KeyboardInterrupt:
        narrator.say()
        narrator.say("Stopped; everything is cleaned up.")
        return INTERRUPTED


def _perform(stage: Stage, narrator: Narrator, options: argparse.Namespace, *, began: float) -> int:
    years = Years(options.messages, options.seed)
    try:
        narrator.took("a Dovecot of our own", time.monotonic() - began)
        began = time.monotonic()
        for mailbox, deliveries in years.deliveries():
            stage.server.deliver_all(WORK, mailbox, deliveries)
        narrator.took(f"{years.messages:,} messages, {years.size_bytes / 1e6:,.0f} MB", time.monotonic() - began)
        narrator.say()
        began = time.monotonic()
        story = Story(stage, narrator, years, pop3_messages=options.pop3_messages, patience_s=options.patience)
        story.play()
        if not options.keep:
            story.end()
        narrator.say()
        narrator.say(f"Every step held, in {time.monotonic() - began:.0f} s.")
        if options.keep:
            _keep(stage, narrator)
    except StepFailedError as error:
        _explain(stage, narrator, error)
        return FAILED
    return HELD


def _explain(stage: Stage, narrator: Narrator, error: StepFailedError) -> None:
    narrator.say(f"    FAILED: {error}")
    narrator.say()
    narrator.say(f'The step "{narrator.step}" does not hold. The last lines of what syncd logged:')
    narrator.say()
    for line in stage.last_log_lines():
        narrator.say(f"    {line}")


def _keep(stage: Stage, narrator: Narrator) -> None:
    """Say how to look at it, and wait until somebody has seen enough."""
    laptop, server = stage.root / "laptop", stage.server
    inbox = f"imap://{WORK}:{PASSWORD}@{server.host}:{server.imap_port}/INBOX"
    mutt = f"mutt -n -F /dev/null -e 'set folder={laptop} mbox_type=Maildir' -f {stage.replica('laptop').directory}"
    narrator.say()
    narrator.say("Everything keeps running. In another terminal:")
    narrator.say()
    for text, command in (
        ("the mail of each device", f"ls -A {' '.join(str(stage.root / device) for device in DEVICES)}"),
        ("how things stand", stage.command("status")),
        ("the laptop's mail in a mail program (or neomutt, with the same options)", mutt),
        ("the flags on the server", f"curl -s {inbox} -X 'FETCH 1:* (FLAGS)'"),
        ("what syncd logs", f"tail -f {stage.daemon.log_file}"),
    ):
        narrator.say(f"    {text}")
        narrator.say(f"        {command}")
    narrator.say()
    narrator.say(f"Press Ctrl-C here (or: kill {os.getpid()}) to stop it all and remove it.")
    while True:
        stage.check_alive()
        time.sleep(1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description="Play a day of mail, and check it.")
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    parser.add_argument("--messages", type=int, default=3_000, help="how many are on the IMAP server")
    parser.add_argument("--pop3-messages", type=int, default=100, help="how many are on the POP3 server")
    parser.add_argument("--seed", type=int, default=1, help="which mailbox is made up")
    parser.add_argument("--patience", type=float, default=60, metavar="S", help="how long a step may take")
    parser.add_argument("--directory", type=Path, help="where all of it is put; default: the temporary directory")
    parser.add_argument("--break-login", action="store_true", help="give syncd a wrong password, to see a step fail")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
