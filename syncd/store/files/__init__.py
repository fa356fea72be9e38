"""Floor 3: what devices did with their files: added, removed, put elsewhere, or had before us."""
