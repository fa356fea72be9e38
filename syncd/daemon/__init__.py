"""Floor 5: the process: supervision, control socket, logs."""
