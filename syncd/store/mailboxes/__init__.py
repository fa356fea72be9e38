"""Floor 3: mailboxes listed, changed and removed on either side, and those of which the store is the server."""
