"""Floor 3: what rounds of replicas read, hold back, and settle."""
