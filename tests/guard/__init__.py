"""What a request may cost: counts, which are the same on every machine, and never times."""
