"""The process that encodes bodies: the same result as without it, and nothing of it is left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.store.encoder import Encoder
from syncd.store.encoding import EncodedBody, encode_octets

MIB = 1024 * 1024


@pytest.fixture
def encoder() -> Iterator[Encoder]:
    encoder = Encoder()
    yield encoder
    encoder.close()


def contents() -> list[bytes]:
    """Return bodies that together are worth the helper, odd ones among them."""
    compressible = b"Message-ID: <a@b>\r\n\r\n" + b"abc\r\n" * 1000
    return [b"", b"x", compressible, b"lone\nline ends\r", os.urandom(MIB), compressible * 100, os.urandom(MIB), b""]


def told(bodies: tuple[EncodedBody, ...]) -> list[object]:
    return [(body.facts, body.codec, body.count, b"".join(body.chunks())) for body in bodies]


def helpers() -> set[int]:
    """Return the processes that we started and that are not over."""
    found = (path.read_text() for path in Path("/proc/self/task").glob("*/children"))
    return {int(pid) for pids in found for pid in pids.split()}


def test_helper_encodes_as_we_do(encoder: Encoder) -> None:
    """What is stored does not depend on who encoded it, batch after batch."""
    small = [b"one", b"two"]
    before = helpers()
    assert told(encoder.encode(small)) == told(tuple(map(encode_octets, small)))
    assert helpers() == before

    for batch in (contents(), contents()[::-1], contents() * 3):
        assert told(encoder.encode(batch)) == told(tuple(map(encode_octets, batch)))
        assert len(helpers() - before) == 1
    encoder.rest()
    assert helpers() == before


def test_helper_that_is_killed_is_done_without(encoder: Encoder) -> None:
    """A batch is encoded all the same, and the next one has a helper again."""
    before, batch = helpers(), contents()
    encoder.encode(batch)
    (helper,) = helpers() - before
    os.kill(helper, signal.SIGKILL)

    assert told(encoder.encode(batch)) == told(tuple(map(encode_octets, batch)))
    assert helpers() == before
    assert told(encoder.encode(batch)) == told(tuple(map(encode_octets, batch)))
    assert len(helpers() - before) == 1


def test_helper_sees_no_secret(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that come in variables are not handed on."""
    monkeypatch.setenv("SYNCD_ACCOUNTS__WORK__PASSWORD", "canary-of-the-helper")
    before = helpers()
    encoder.encode(contents())
    (helper,) = helpers() - before

    assert b"canary" not in Path(f"/proc/{helper}/environ").read_bytes()


def test_helper_does_not_outlive_a_killed_process() -> None:
    """Whoever is killed without warning leaves no helper."""
    program = (
        "import sys, tests.unit.store.test_encoder as t; e = t.Encoder(); e.encode(t.contents());"
        "print(*t.helpers(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen((sys.executable, "-c", program), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        helper = Path(f"/proc/{int(process.stdout.readline())}")
        assert b"syncd.store.encoder" in (helper / "cmdline").read_bytes()
        process.kill()

    deadline = time.monotonic() + 10
    while _is_alive(helper):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _is_alive(process: Path) -> bool:
    try:
        return bool((process / "cmdline").read_bytes())  # none once it is over and nobody has asked for its end
    except OSError:
        return False
