"""Relays behind the real HAProxy, where it is installed."""
