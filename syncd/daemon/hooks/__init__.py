"""Floor 5: commands of a person that are told what happened: what the news is, and how a command is run."""
