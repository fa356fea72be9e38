"""Floor 3: what is still to be done: asked for by a person, carried on, refused before, or given up."""
