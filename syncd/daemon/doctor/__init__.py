"""Floor 5: what may be wrong around syncd, before mail is missed: facts are looked at, and judged apart from that."""
