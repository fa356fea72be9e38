"""Floor 5: what people ask for, told and done, by the daemon or by a command that owns the store itself."""
