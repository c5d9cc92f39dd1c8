"""The errors of the wire. Any other exception that leaves ``messageu.wire`` is a bug of ours."""

from __future__ import annotations


class ProtocolError(Exception):
    """The protocol was not followed. The text is ours and holds nothing that a peer sent."""


class LocalProtocolError(ProtocolError):
    """We were about to send what the protocol cannot carry: nothing has been sent."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol does not allow; it deserves a general error.

    :ivar fatal: nothing that follows on this connection can be trusted. Otherwise the offending
        frame is skipped and the next one can be read.
    """

    def __init__(self, reason: str, *, fatal: bool) -> None:
        super().__init__(reason)
        self.fatal = fatal
