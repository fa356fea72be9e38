"""Floor 3: what changed below a root, watched or found by times, and what is there: listed, and looked at again."""
