"""Floor 3: how files and directories are named, and what names mean."""
