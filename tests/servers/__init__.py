"""Real servers for tests, demo and benchmarks, brought without root and without installing anything."""
