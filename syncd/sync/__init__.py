"""Floor 4: rounds: observe, record, plan, guard, perform, settle; one task per account and device."""
