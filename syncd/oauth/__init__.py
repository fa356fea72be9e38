"""Floor 3: OAuth: access to an account's mail, asked for once by a person and renewed from then on."""
