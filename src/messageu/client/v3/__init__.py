"""A client of MessageU v3 for an application with its own reactor."""
