"""Measure syncd against the programs of the field and against what could be done at least, on real servers."""

import argparse
import compileall
import signal
import sys
import tempfile
from pathlib import Path

import syncd
from syncd.store.engine.migrate import migrations_directory
from tests.benchmarks.bench import Bench
from tests.benchmarks.report import as_json, markdown
from tests.benchmarks.settings import Options
from tests.benchmarks.works import WORKS
from tests.servers.dovecot import Dovecot

_DURABLE = "mail_fsync = optimized\n"  # as a server that people use; those of tests write to no disk


def main(arguments: list[str] | None = None) -> int:
    """Do the works that were asked for, and print the table; 1 means that a bound is not held."""
    parser = _parser()
    given = parser.parse_args(arguments)
    options = _options(given)
    for package in (Path(syncd.__file__).parent, migrations_directory()):
        compileall.compile_dir(package, quiet=1)  # as what is installed has been
    with tempfile.TemporaryDirectory(prefix="syncd-bench-", dir=options.directory) as temporary:
        home = Path(temporary)
        home.chmod(0o755)  # a server runs as somebody else when we are root
        with Dovecot(home / "server", tls=False, extra_config=_DURABLE) as server:
            bench = Bench(options, server, home)
            for name in options.works:
                WORKS[name](bench)
    report = bench.report()
    print(markdown(report), end="")
    if given.json is not None:
        given.json.write_text(as_json(report))
    return int(not options.is_smoke and any(row.verdict == "not held" for row in report.rows))


def _options(given: argparse.Namespace) -> Options:
    return Options(
        works=tuple(given.work or WORKS),
        messages=tuple(given.messages) if given.messages else None,
        mailboxes=given.mailboxes,
        rtts_ms=tuple(given.rtt) if given.rtt else None,
        devices=2 if given.smoke else given.devices,
        pairs=1 if given.smoke else given.pairs,
        seed=given.seed,
        directory=given.directory,
        peers=frozenset(given.peers) if given.peers is not None else None,
        is_smoke=given.smoke,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--work", nargs="+", choices=list(WORKS), help="what to measure; all of it by default")
    parser.add_argument("--messages", type=int, nargs="+", help="instead of the numbers that each work has")
    parser.add_argument("--mailboxes", type=int, help="instead of the numbers that each work has")
    parser.add_argument("--rtt", type=int, nargs="+", metavar="MS", help="round trip times instead of 0 and 25 ms")
    parser.add_argument("--devices", type=int, default=3, help="of syncd (default: 3)")
    parser.add_argument("--pairs", type=int, default=3, help="how often contenders run, in turn (default: 3)")
    parser.add_argument("--peers", nargs="*", help="only these programs beside syncd")
    parser.add_argument("--seed", type=int, default=1, help="of the mail (default: 1)")
    parser.add_argument("--directory", type=Path, help="where everything is written, for the disk to be measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table as JSON, too")
    parser.add_argument("--smoke", action="store_true", help="run everything with a few messages, measuring nothing")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # with what it started, and what it wrote
    sys.exit(main())
