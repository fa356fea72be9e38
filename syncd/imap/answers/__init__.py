"""Floor 3: what a server's answers mean: read as values, taken by the commands that wait for them, or refusals."""
