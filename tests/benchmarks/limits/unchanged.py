"""Ask the server for everything that would tell a change: one LIST-STATUS on a connection that is open, and no more."""

import sys
import time

from tests.benchmarks.limits.imap import arguments


def main() -> None:
    """Do it each time a line says so."""
    connection, _, _, _ = arguments()
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.monotonic()
        connection.send('S LIST "" "*" RETURN (STATUS (UIDVALIDITY UIDNEXT MESSAGES HIGHESTMODSEQ))\r\n')
        for _ in connection.until("S"):
            pass
        print(time.monotonic() - began, flush=True)


if __name__ == "__main__":
    main()
