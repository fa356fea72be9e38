"""Floor 3: encoding bodies in a process beside this one, so that two processors share a first sync.

Theory. Python runs one thread at a time, and a third of what a first sync computes is digests, line ends and zstd of
octets that nothing else looks at. The helper is a program of its own (`encoding_helper`): it has no store and no files,
and none of our variables but those that Python needs. It reads octets from a file in memory that both have open, and
writes in their place what Maildir files of them have, which is never longer, and behind it what is to be stored. It
ends when its standard input does, so it cannot outlive us. Without it (few octets, a helper that fails, a place without
one) the same function encodes here.

NOTE: to copy octets by a system call leaves the other threads running, to copy them to mapped memory does not.
"""

import json
import os
import selectors
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import NamedTuple

from syncd.log import log
from syncd.mail.message import BodyFacts
from syncd.store.bodies import encoding_helper
from syncd.store.bodies.encoding import Codec, EncodedBody, encode_for_file

_WORTHWHILE_BYTES = 2 * 1024 * 1024
_ENOUGH_BYTES = 256 * 1024
"""How many octets are worth the way to a helper that runs already."""
_PATIENCE_S = 60.0
_VECTOR_MAX = 1000
"""How many pieces of memory one system call takes: UIO_MAXIOV is 1024."""
_FILES_AT_ONCE = 128 * 1024
_FAILURES_MAX = 2
"""After so many in a row there is no help to be had here."""
_VARIABLES = ("PATH", "PYTHON", "LD_LIBRARY_PATH", "LANG", "LC_")


class _Helper(NamedTuple):
    process: "subprocess.Popen[bytes]"
    memory_fd: int


class Encoder:
    """Encode batches of bodies for any thread, one at a time; the helper starts with the first large one, or before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._helper: _Helper | None = None
        self._failures = 0 if sys.executable and hasattr(os, "memfd_create") else _FAILURES_MAX
        self._is_closed = False

    def expect(self, size_bytes: int) -> None:
        """Have the helper start meanwhile if so many octets, which are about to come, are worth it."""
        if size_bytes >= _WORTHWHILE_BYTES and self._helper is None:
            threading.Thread(target=self._start, daemon=True).start()

    def encode(self, contents: Sequence[bytes]) -> tuple[EncodedBody, ...]:
        """Return bodies of at most 1 MiB each ready to be inserted, with their facts and what files of them have."""
        if sum(map(len, contents)) >= (_WORTHWHILE_BYTES if self._helper is None else _ENOUGH_BYTES):
            with self._lock:
                if self._may_help:
                    try:
                        return self._with_help(contents)
                    except (OSError, EOFError, ValueError, subprocess.SubprocessError) as error:
                        self._failures += 1
                        log.warning("encoder_failed", error=type(error).__name__)
        return tuple(map(encode_for_file, contents))

    def rest(self) -> None:
        """End the helper unless somebody is using it; the next large batch starts another."""
        if self._lock.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._lock.release()

    def close(self) -> None:
        """End the helper for good, also in the middle of a batch; what comes is encoded here."""
        self._is_closed = True
        helper = self._helper
        if helper is not None:
            helper.process.kill()
        self.rest()

    @property
    def _may_help(self) -> bool:
        return not self._is_closed and self._failures < _FAILURES_MAX

    def _start(self) -> None:
        with self._lock:
            if self._helper is None and self._may_help:
                with suppress(OSError, subprocess.SubprocessError):  # who encodes tries again, and tells of it
                    self._helper = _started()
            if self._is_closed:
                self._end()

    def _with_help(self, contents: Sequence[bytes]) -> tuple[EncodedBody, ...]:
        helper = self._helper = self._helper or _started()
        try:
            encoded = tuple(_encoded_by(helper, contents))
        except BaseException:
            self._end()  # NOTE: what it may still say would be taken for the answer to the next batch
            raise
        self._failures = 0
        return encoded

    def _end(self) -> None:
        if self._helper is None:
            return
        process, memory_fd = self._helper
        self._helper = None
        os.close(memory_fd)
        process.kill()  # it holds nothing that could be half done
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        process.wait()


def _started() -> _Helper:
    memory_fd = os.memfd_create("syncd-bodies", os.MFD_CLOEXEC)
    try:
        process = subprocess.Popen(  # noqa: S603 - a module of ours
            (sys.executable, "-P", "-m", encoding_helper.__name__, str(memory_fd)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(memory_fd,),
            env={name: value for name, value in os.environ.items() if name.startswith(_VARIABLES)},
            start_new_session=True,  # a Ctrl-C is for us
        )
    except BaseException:
        os.close(memory_fd)
        raise
    return _Helper(process, memory_fd)


def _encoded_by(helper: _Helper, contents: Sequence[bytes]) -> Iterator[EncodedBody]:
    start = 0
    for at in range(0, len(contents), _VECTOR_MAX):
        group = contents[at : at + _VECTOR_MAX]
        written = os.pwritev(helper.memory_fd, group, start)
        if written != sum(map(len, group)):
            raise EOFError("there is no memory for so many octets")
        start += written
    if helper.process.stdin is not None:
        encoding_helper.say(helper.process.stdin, [len(content) for content in contents])
    answers = [_read(answer) for answer in _answer(helper.process)]
    # NOTE: of these octets there is one copy, which each body has a part of.
    stored = _parts(helper.memory_fd, start, [length for _, _, length in answers], at_once=sys.maxsize)
    # NOTE: these are kept for longer, and as long as one of them is, so are all that were read with it.
    sizes = [facts.lf_size_bytes if facts.is_crlf else facts.size_bytes for facts, _, _ in answers]
    files = _parts(helper.memory_fd, 0, sizes, at_once=_FILES_AT_ONCE)
    for content, (facts, codec, length), octets, for_file in zip(contents, answers, stored, files, strict=True):
        if facts.size_bytes != len(content):
            raise ValueError("the helper tells of another body")
        yield EncodedBody(facts, codec, (length,) if content else (), octets, for_file=for_file)


def _parts(memory_fd: int, start: int, sizes: Sequence[int], *, at_once: int) -> Iterator[memoryview]:
    """Yield parts of the memory, one behind the other; at_once: how many octets are read together, about."""
    at = 0
    while at < len(sizes):
        ends = [0]
        while at < len(sizes) and ends[-1] < at_once:
            ends.append(ends[-1] + sizes[at])
            at += 1
        octets = memoryview(os.pread(memory_fd, ends[-1], start))
        if len(octets) != ends[-1]:
            raise EOFError("the helper stored less than it tells")
        start += len(octets)
        yield from (octets[begin:end] for begin, end in pairwise(ends))


def _answer(process: "subprocess.Popen[bytes]") -> list[list[str | int | None]]:
    """Return what the helper says next; EOFError if that is nothing."""
    if process.stdout is None:
        raise EOFError
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(_PATIENCE_S):
            raise EOFError("the helper does not answer")
    line = process.stdout.readline()
    if not line.endswith(b"\n"):
        raise EOFError("the helper ended")
    rows: list[list[str | int | None]] = json.loads(line)
    return rows


def _read(answer: list[str | int | None]) -> tuple[BodyFacts, Codec, int]:
    digest, header_digest, message_id, size_bytes, lf_size_bytes, is_crlf, codec, length = answer
    facts = BodyFacts(
        digest=bytes.fromhex(str(digest)),
        header_digest=bytes.fromhex(str(header_digest)),
        message_id=None if message_id is None else str(message_id),
        size_bytes=int(size_bytes or 0),
        lf_size_bytes=int(lf_size_bytes or 0),
        is_crlf=bool(is_crlf),
    )
    return facts, Codec(str(codec)), int(length or 0)
