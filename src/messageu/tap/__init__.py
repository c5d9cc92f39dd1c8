"""``twistd messageu`` and ``twist messageu``: the relay's options, and where its parts are joined."""

from ._options import Options, limits_table
from ._service import DEFAULT_PORT, makeService, read_port

__all__ = ["DEFAULT_PORT", "Options", "limits_table", "makeService", "read_port"]
