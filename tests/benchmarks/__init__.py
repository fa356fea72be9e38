"""Measurements against the best of the field, on real servers."""
