"""Floor 5: figures, metrics and health, for programs that watch the daemon."""
