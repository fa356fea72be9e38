"""Floor 4: the task of one IMAP account: its mailboxes are observed, and what devices changed is brought to them."""
