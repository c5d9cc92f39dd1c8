"""The load of ``messageu-admin load``."""
