"""Fuzzing: one function of some bytes for each reader of what others have written (README.md)."""
