"""Floor 4: the tasks of one POP3 account: its maildrop is drained, and the store is the server of its mailboxes."""
