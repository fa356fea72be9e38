"""Floor 3: the program beside syncd that encodes bodies for `encoder`, which says what they tell each other.

House rule: this imports next to nothing, as it is started for each first sync, and its memory counts.
"""

import json
import os
import sys
from typing import IO

from syncd.store.bodies.encoding import encode_for_file


def say(pipe: IO[bytes], value: object) -> None:
    """Write a line."""
    pipe.write(json.dumps(value).encode() + b"\n")
    pipe.flush()


def help_with(memory_fd: int) -> None:
    """Answer each line of lengths with a line of facts, until there is no more."""
    for line in sys.stdin.buffer:
        rows, lengths = [], json.loads(line)
        start = file_end = 0
        end = sum(lengths)
        for length in lengths:
            body = encode_for_file(os.pread(memory_fd, length, start))
            start += length
            file_end += os.pwrite(memory_fd, body.for_file or b"", file_end)
            stored_bytes = sum(os.pwrite(memory_fd, chunk, end) for chunk in body.chunks())
            end += stored_bytes
            facts = body.facts
            rows.append(
                (
                    facts.digest.hex(),
                    facts.header_digest.hex(),
                    facts.message_id,
                    facts.size_bytes,
                    facts.lf_size_bytes,
                    facts.is_crlf,
                    body.codec.value,
                    stored_bytes,
                )
            )
        say(sys.stdout.buffer, rows)


if __name__ == "__main__":
    help_with(int(sys.argv[1]))
