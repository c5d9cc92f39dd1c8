"""What was tried against v2, where it works, and against v3, where it fails: see ``table``."""
