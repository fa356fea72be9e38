"""Floor 1: logging in by SASL, the same for IMAP and POP3: pure, and what is said is nobody else's business."""
