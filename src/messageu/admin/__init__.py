"""The operator's command: backups of a running relay, and what is done with them while none runs."""

from ._relay import RelayGone, RelayUnreachable, ask

__all__ = ["RelayGone", "RelayUnreachable", "ask"]
