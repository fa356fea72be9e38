"""Floor 3: a session with a server, and the commands that are given in it."""
