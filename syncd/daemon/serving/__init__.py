"""Floor 5: accounts and devices served: each by a task that is supervised, all of them joined to an app."""
