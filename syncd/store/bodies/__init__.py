"""Floor 3: the octets of messages: kept, found again, wanted, and swept."""
