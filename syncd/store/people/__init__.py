"""Floor 3: what people and their programs ask of the store."""
