"""`make soak` and `make idle`: a daemon that lives long, and one with a thousand accounts: docs/long-life.md."""
