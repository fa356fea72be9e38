"""Floor 4: rounds: plan, guard, perform, settle; the only place where a server and a replica meet."""
