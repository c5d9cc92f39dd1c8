"""What the kernel knows of a connection, asked behind an interface so that tests can answer."""

from __future__ import annotations

import socket
import struct
from fcntl import ioctl
from termios import FIONREAD, TIOCOUTQ
from typing import Final

from twisted.internet.interfaces import ITransport
from zope.interface import Attribute, Interface, implementer

_INT: Final = struct.Struct("i")


class ITransportProbe(Interface):
    """Looks at one connection's queues in the kernel. None: there is no telling."""

    handle = Attribute("The plain socket under the transport, or None.")

    def unread() -> int | None:
        """Bytes that have arrived and were not read yet."""

    def unacknowledged() -> int | None:
        """Bytes that were written and not acknowledged by the other side's kernel yet."""

    def failed() -> bool:
        """Whether the connection was reset or timed out, though nobody watches it."""


@implementer(ITransportProbe)
class BlindProbe:
    """For transports of which the kernel cannot tell, such as TLS: there is no telling."""

    handle = None

    def unread(self) -> int | None:
        """No telling."""
        return None

    def unacknowledged(self) -> int | None:
        """No telling."""
        return None

    def failed(self) -> bool:
        """Not that one could see."""
        return False


@implementer(ITransportProbe)
class SocketProbe:
    """Asks Linux with FIONREAD and SIOCOUTQ, which count a FIN of ours as one byte too."""

    def __init__(self, handle: socket.socket) -> None:
        self.handle = handle

    def unread(self) -> int | None:
        """FIONREAD."""
        return self._ask(FIONREAD)

    def unacknowledged(self) -> int | None:
        """SIOCOUTQ, which shares its number with TIOCOUTQ."""
        return self._ask(TIOCOUTQ)

    def failed(self) -> bool:
        """SO_ERROR, which the kernel tells once."""
        try:
            return self.handle.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        except OSError:
            return True

    def _ask(self, question: int) -> int | None:
        try:
            return int(_INT.unpack(ioctl(self.handle.fileno(), question, _INT.pack(0)))[0])
        except (OSError, ValueError):  # not such a socket, or closed already
            return None


class ProxiedProbe(SocketProbe):
    """For connections that a balancer passes on: what was acknowledged, the balancer's kernel has
    acknowledged. Of the client's there is no telling (ADR 14)."""

    def unacknowledged(self) -> int | None:
        """No telling."""
        return None


def probe_of(transport: ITransport) -> SocketProbe | BlindProbe:
    """The probe that fits a transport."""
    return _probe_of(transport, SocketProbe)


def proxied_probe_of(transport: ITransport) -> SocketProbe | BlindProbe:
    """The same, behind a balancer."""
    return _probe_of(transport, ProxiedProbe)


def _probe_of(transport: ITransport, kind: type[SocketProbe]) -> SocketProbe | BlindProbe:
    get_handle = getattr(transport, "getHandle", None)
    handle = get_handle() if get_handle is not None else None
    return kind(handle) if isinstance(handle, socket.socket) else BlindProbe()
