"""Floor 5: what `syncd sync` loads when there is something to do, and a daemon at its start: no change waits for it."""

from syncd.sync import arrivals, imap_arrivals, imap_mailbox, replica_round, server_round, shift_round

__all__ = ["arrivals", "imap_arrivals", "imap_mailbox", "replica_round", "server_round", "shift_round"]
