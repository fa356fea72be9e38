"""Soak a daemon: a long life in a short time, on a real server. 1 means that it did not stay as it was."""

import argparse
import compileall
import json
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import syncd
from syncd.store.engine.migrate import migrations_directory
from tests.soak.life import Life, Options
from tests.soak.verdict import verdict_of

_ROUNDS = 60


def main(arguments: list[str] | None = None) -> int:
    """Live the rounds that were asked for, and print the table."""
    given = _parser().parse_args(arguments)
    print(f"seed {given.seed}", flush=True)
    for package in (Path(syncd.__file__).parent, migrations_directory()):
        compileall.compile_dir(package, quiet=1)  # as what is installed has been
    with tempfile.TemporaryDirectory(prefix="syncd-soak-", dir=given.directory) as temporary:
        home = Path(temporary)
        home.chmod(0o755)  # a server runs as somebody else when we are root
        rounds = 1 if given.smoke else given.rounds or (None if given.minutes else _ROUNDS)
        options = Options(
            given.seed, 12 if given.smoke else given.messages, home, rounds, given.minutes, traces=given.trace
        )
        life = Life(options)
        try:
            life.run()
        finally:
            if given.json is not None:
                given.json.write_text(json.dumps([asdict(one) for one in life.samples], indent=1))
    verdict = verdict_of(life.samples)
    print(verdict.markdown(), end="")
    if given.trace or not verdict.is_flat:
        print(verdict.grown(), end="", file=sys.stderr)
    return int(not given.smoke and not verdict.is_flat)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--rounds", type=int, help="how many; a day passes in each")
    length.add_argument("--minutes", type=float, help="as many rounds as fit in there")
    length.add_argument("--hours", type=lambda hours: float(hours) * 60, dest="minutes", help="the same")
    parser.add_argument("--messages", type=int, default=600, help="that arrive in each round (default: 600)")
    parser.add_argument("--seed", type=int, default=1, help="of everything (default: 1)")
    parser.add_argument("--directory", type=Path, help="where everything is written")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples, too")
    parser.add_argument("--trace", action="store_true", help="tell which lines hold memory that grew; slow")
    parser.add_argument("--smoke", action="store_true", help="whether it runs at all; its figures say nothing")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # with what it started, and what it wrote
    sys.exit(main())
