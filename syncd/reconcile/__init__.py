"""Floor 2: pure decisions: what three trees that differ ask for, and what is too dangerous to do."""
