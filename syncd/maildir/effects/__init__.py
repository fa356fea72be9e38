"""Floor 3: what is done to files and directories, with an outcome for each."""
