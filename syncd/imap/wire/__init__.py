"""Floor 3: octets to and from a server: encrypted, cut into responses, and bounded."""
