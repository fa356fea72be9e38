"""Floor 4: the task of one device: it watches its root, looks at its files, and keeps its replicas at their servers."""
