"""Floor 5: how a running daemon is reached and told: its socket, events as they come, its configuration file."""
