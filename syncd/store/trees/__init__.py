"""Floor 3: accounts, devices and their trees as rows, and what was begun, went wrong, or happened."""
