"""Floor 1: the vocabulary of mail as frozen values: flags, UIDs, mailbox names, raw messages, trees."""
