"""Floor 3: the store: three trees, cursors and bodies in one SQL database."""
