"""Fetch everything of every mailbox, all commands at once, and make it durable on all devices."""

from tests.benchmarks.limits.imap import arguments
from tests.benchmarks.limits.store import Intake


def main() -> None:
    """Do it once."""
    connection, mailboxes, directory, roots = arguments()
    for number, name in enumerate(mailboxes):
        connection.send(f'S{number} EXAMINE "{name}"\r\nF{number} UID FETCH 1:* (UID FLAGS BODY.PEEK[])\r\n')
    with Intake(directory, roots, mailboxes) as intake:
        for number, mailbox in enumerate(mailboxes):
            for uid, flags, octets in connection.bodies(f"F{number}"):
                intake.add((mailbox, uid, flags, octets))


if __name__ == "__main__":
    main()
