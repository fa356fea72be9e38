"""A day of mail against a real server, played and checked: `python -m tests.demo`."""
