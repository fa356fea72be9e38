"""Floor 3: the Maildir gateway: names, directories, files, and what changed in them."""
