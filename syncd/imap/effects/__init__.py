"""Floor 3: what is changed on a server, whatever it offers, with an outcome for each message."""
