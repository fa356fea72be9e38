"""Floor 3: what only the system does or knows: calls that Python has not, kinds of file systems, errors."""
