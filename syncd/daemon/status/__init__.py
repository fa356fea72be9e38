"""Floor 5: how everybody is, as values: put together from the store and the tasks, with what is to be done about it."""
