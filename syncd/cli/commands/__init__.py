"""Floor 6: one file for each command, and what is too long for the file of its command."""
