"""Floor 3: the POP3 gateway: a client, and the chain of custody that ends in DELE."""
