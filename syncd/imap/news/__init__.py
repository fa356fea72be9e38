"""Floor 3: what changed in mailboxes: asked for since a cursor, waited for, listened to."""
