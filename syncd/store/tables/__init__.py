"""Floor 3: what tables are made of, and the tables."""
