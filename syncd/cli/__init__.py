"""Floor 6: the commands a person types, and the tables they read."""
