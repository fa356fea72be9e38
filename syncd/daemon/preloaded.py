"""Floor 5: what `syncd sync` loads when there is something to do, and a daemon at its start: no change waits for it."""

from syncd.sync.device import shift_round
from syncd.sync.imap import arrivals as imap_arrivals
from syncd.sync.imap import listening
from syncd.sync.imap import mailbox as imap_mailbox
from syncd.sync.rounds import arrivals, replica_round, server_round

__all__ = ["arrivals", "imap_arrivals", "imap_mailbox", "listening", "replica_round", "server_round", "shift_round"]
