"""Measure the first sync of a large mailbox to three devices, against mbsync for three Maildirs."""

import argparse
import hashlib
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.benchmarks.contenders import CONTENDERS, DEVICES, Contender, Effort
from tests.servers.delivery import Delivery
from tests.servers.dovecot import Dovecot
from tests.servers.messages import Kind, Writer

USER = "bench"
BOUND = 0.5
_TUID = re.compile(rb"^X-TUID: .*\n", re.MULTILINE)


def main() -> int:
    """Run the race and print it; 1 means that syncd needed more than half of mbsync's time."""
    options = _options()
    names = [options.only] if options.only else list(CONTENDERS)
    with tempfile.TemporaryDirectory(prefix="syncd-bench-", dir=options.directory) as temporary:
        home = Path(temporary)
        with Dovecot(home / "server", tls=False) as server:
            expected = _fill(server, options.messages, seed=options.seed)
            efforts: dict[str, list[Effort]] = {name: [] for name in names}
            for pair in range(options.pairs):
                # The order turns round with every pair, so that neither always runs on the other's warm caches.
                for name in names if pair % 2 == 0 else reversed(names):
                    effort = _race(CONTENDERS[name], server, home / f"{name}-{pair}", expected)
                    efforts[name].append(effort)
                    print(f"{pair + 1}/{options.pairs} {name:8} {effort}", flush=True)
    return _verdict(efforts)


def _fill(server: Dovecot, count: int, *, seed: int) -> Counter[bytes]:
    began = time.monotonic()
    digests: Counter[bytes] = Counter()
    total_bytes = 0

    def deliveries() -> Iterator[Delivery]:
        nonlocal total_bytes
        # NOTE: mbsync skips a message whose header does not end in an empty line.
        for message in Writer(seed).corpus(count, leave_out={Kind.NO_BODY}):
            digests[_digest(message)] += 1
            total_bytes += len(message)
            yield Delivery(message)

    server.deliver_all(USER, "INBOX", deliveries())
    took_s = time.monotonic() - began
    print(f"{count} messages, {total_bytes / 1e6:.0f} MB, seed {seed}, delivered in {took_s:.1f} s", flush=True)
    return digests


def _race(contender: Contender, server: Dovecot, directory: Path, expected: Counter[bytes]) -> Effort:
    # NOTE: nothing is removed before all have run: for minutes after, ext4 looks for inodes that are not of the
    # removed files, one by one, and each new file then takes ten times as long.
    directory.mkdir()
    contender.prepare(server, USER, directory)
    effort = contender.run(directory)
    for device in DEVICES:
        found = Counter(_digest(file.read_bytes()) for file in _mail_files(directory / device))
        if found != expected:
            missing, extra = (expected - found).total(), (found - expected).total()
            raise RuntimeError(f"{contender.name}: {device} lacks {missing} messages and has {extra} others")
    return effort


def _mail_files(maildirs: Path) -> Iterable[Path]:
    return (file for kind in ("cur", "new") for file in maildirs.rglob(f"{kind}/*"))


def _digest(octets: bytes) -> bytes:
    """Return what a message is apart from line ends and the mark that mbsync leaves in it."""
    return hashlib.sha256(_TUID.sub(b"", octets.replace(b"\r\n", b"\n"), count=1)).digest()


def _verdict(efforts: dict[str, list[Effort]]) -> int:
    for name, runs in efforts.items():
        walls = [run.wall_s for run in runs]
        print(f"{name:8} median {statistics.median(walls):.2f} s wall ({min(walls):.2f} to {max(walls):.2f})")
    if len(efforts) < 2:
        return 0
    ratios = [ours.wall_s / theirs.wall_s for ours, theirs in zip(efforts["syncd"], efforts["mbsync"], strict=True)]
    ratio = statistics.median(ratios)
    print(f"syncd / mbsync: {ratio:.3f} ({min(ratios):.3f} to {max(ratios):.3f}), bound {BOUND}")
    return 0 if ratio <= BOUND else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=list(CONTENDERS))
    parser.add_argument("--directory", help="where the mail is written, for the disk to be measured")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
