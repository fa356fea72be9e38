"""Floor 3: how a store is opened, owned, migrated, asked and written."""
