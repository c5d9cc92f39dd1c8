"""MessageU: an end-to-end encrypted, store-and-forward messaging relay and client."""

__version__ = "0.1.0"
