"""Floor 3: the IMAP gateway: octets on a wire become typed responses, and IMAP verbs."""
