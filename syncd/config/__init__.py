"""Floor 2: the one TOML file, its overrides, and every problem in it reported at once."""
