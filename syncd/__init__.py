"""syncd keeps a replica of every mailbox on every device, reconciled two-way with the mail servers."""
