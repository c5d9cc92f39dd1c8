"""Three relays, a primary and its standby, and clients, while all of these fail."""
