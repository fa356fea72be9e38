"""Floor 5: what any process of syncd has: signals, its log, and what the service manager is told."""
