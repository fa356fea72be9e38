"""The process that encodes bodies: the same result as without it, and nothing of it is left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from syncd.store.bodies import encoder as encoder_module
from syncd.store.bodies.encoder import Encoder
from syncd.store.bodies.encoding import EncodedBody, encode_for_file
from tests.servers.daemon import wait_until

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
    return [(body.facts, body.codec, body.count, b"".join(body.chunks()), body.for_file) for body in bodies]


def helpers() -> set[int]:
    """Return the processes that we started and that are not over."""
    found = (path.read_text() for path in Path("/proc/self/task").glob("*/children"))
    return {int(pid) for pids in found for pid in pids.split()}


def test_helper_encodes_as_we_do(encoder: Encoder) -> None:
    """What is stored does not depend on who encoded it, batch after batch."""
    small = [b"one", b"two"]
    before = helpers()
    assert told(encoder.encode(small)) == told(tuple(map(encode_for_file, small)))
    assert helpers() == before

    for batch in (contents(), contents()[::-1], contents() * 3):
        assert told(encoder.encode(batch)) == told(tuple(map(encode_for_file, batch)))
        assert len(helpers() - before) == 1
    encoder.rest()
    assert helpers() == before


def test_helper_that_runs_is_worth_a_smaller_batch(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of a large one does not have to be encoded here; a letter is."""
    here: list[int] = []
    monkeypatch.setattr(
        encoder_module, "encode_for_file", lambda octets: (here.append(len(octets)), encode_for_file(octets))[1]
    )
    rest = [os.urandom(MIB // 8)] * 3
    encoder.encode(rest)
    assert here == [MIB // 8] * 3

    encoder.encode(contents())
    encoder.encode(rest)
    encoder.encode([b"letter"])

    assert here == [*[MIB // 8] * 3, 6]


def test_helper_that_is_expected_starts_before_there_is_anything_to_encode(encoder: Encoder) -> None:
    """A large batch finds it ready; of a small one nobody expects help."""
    before = helpers()
    encoder.expect(1000)
    encoder.expect(10**7)
    wait_until(lambda: helpers() - before, 30.0, "the helper runs")
    (expected,) = helpers() - before

    encoder.encode(contents())
    assert helpers() - before == {expected}


def test_helper_that_is_killed_is_done_without(encoder: Encoder) -> None:
    """A batch is encoded all the same, and the next one has a helper again."""
    before, batch = helpers(), contents()
    encoder.encode(batch)
    (helper,) = helpers() - before
    os.kill(helper, signal.SIGKILL)

    assert told(encoder.encode(batch)) == told(tuple(map(encode_for_file, batch)))
    assert helpers() == before
    assert told(encoder.encode(batch)) == told(tuple(map(encode_for_file, batch)))
    assert len(helpers() - before) == 1


def test_an_answer_that_nobody_took_is_not_taken_for_another(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """After any error on the way the helper ends, and with it what it still had to say."""
    batch = contents()
    with monkeypatch.context() as patch:
        patch.setattr(encoder_module, "_answer", _failing)
        with pytest.raises(MemoryError):
            encoder.encode(batch[::-1])

    assert told(encoder.encode(batch)) == told(tuple(map(encode_for_file, batch)))


def test_answers_about_other_bodies_are_refused(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the helper says is compared with what it was asked, and done again here if it does not fit."""
    batch = contents()
    answer = encoder_module._answer
    for wrong in (lambda rows: rows[:-1], lambda rows: [*rows, rows[0]], lambda rows: rows[::-1]):
        other = Encoder()
        monkeypatch.setattr(encoder_module, "_answer", lambda process, wrong=wrong: wrong(answer(process)))
        assert told(other.encode(batch)) == told(tuple(map(encode_for_file, batch)))
        other.close()


@pytest.mark.parametrize("program", ["", "/bin/false"])
def test_where_there_is_no_helper_all_is_encoded_here(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """It is tried twice at most, and never stops a batch."""
    started: list[object] = []
    popen = encoder_module.subprocess.Popen
    monkeypatch.setattr(encoder_module.sys, "executable", program)
    monkeypatch.setattr(encoder_module.subprocess, "Popen", lambda *a, **k: (started.append(a), popen(*a, **k))[1])
    encoder, batch = Encoder(), contents()
    for _ in range(5):
        assert told(encoder.encode(batch)) == told(tuple(map(encode_for_file, batch)))

    assert len(started) == (2 if program else 0)


def test_closed_is_closed(encoder: Encoder) -> None:
    """After the end no helper starts again."""
    before = helpers()
    encoder.close()
    assert told(encoder.encode(contents()))
    assert helpers() == before


def _failing(_: object) -> NoReturn:
    raise MemoryError


def test_helper_sees_no_secret(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that come in variables are not handed on."""
    for name in ("SYNCD_ACCOUNTS__WORK__PASSWORD", "syncd_accounts__work__password", "PGPASSWORD"):
        monkeypatch.setenv(name, "canary-of-the-helper")
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
        assert b"syncd.store.bodies.encoding_helper" in (helper / "cmdline").read_bytes()
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
