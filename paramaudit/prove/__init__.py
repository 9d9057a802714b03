"""The provers: each gets only an original and a candidate, never the name of who proposed it."""
