"""Floor 4: what the tasks of IMAP and of POP3 accounts have in common."""
