"""Where the relay is: ``server.info``, one line of ``<ip>:<port>``."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from attrs import frozen
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from ._errors import AddressInvalid
from ._files import read_small

ADDRESS_FILE: Final = "server.info"
_SIZE_LIMIT: Final = 4096
_LOOKS_LIKE_IPV4: Final = re.compile(r"[\d.]+")
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_PORT: Final = re.compile(r"[0-9]{1,5}")


@frozen
class RelayAddress:
    """A host, which is an IPv4 or IPv6 address or a name, and a TCP port of 1 to 65535."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def read_address(folder: Path) -> RelayAddress:
    """Read ``server.info`` in ``folder``.

    :raises AddressInvalid: when it is missing or says nothing of use.
    """
    wanted = f"it should hold one line of <ip>:<port>, such as 127.0.0.1:1357 (in {folder})"
    try:
        text = read_small(folder / ADDRESS_FILE, _SIZE_LIMIT).decode("utf-8-sig", "replace")
    except FileNotFoundError:
        raise AddressInvalid(f"{ADDRESS_FILE} is missing: {wanted}") from None
    except OSError as error:
        raise AddressInvalid(f"{ADDRESS_FILE} cannot be read: {error.strerror}") from None
    try:
        return parse_address(text)
    except AddressInvalid as error:
        raise AddressInvalid(f"{ADDRESS_FILE} is invalid: {error}; {wanted}") from None


def parse_address(text: str) -> RelayAddress:
    """Read ``<ip>:<port>``, ``<name>:<port>`` or ``[<IPv6>]:<port>`` off the first line with text.

    Spaces around the line and around its colon are ignored, and so are NULs.

    :raises AddressInvalid: for anything else.
    """
    lines = [line.strip() for line in text.replace("\0", "").splitlines()]
    line = next(filter(None, lines), "")
    host, colon, port = (part.strip() for part in line.rpartition(":"))
    if not colon:
        raise AddressInvalid("there is no colon before a port")
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
        raise AddressInvalid("the port is no number from 1 to 65535")
    return RelayAddress(_checked_host(host), int(port))


def _checked_host(host: str) -> str:
    try:
        if host.startswith("[") and host.endswith("]"):
            return str(IPv6Address(host[1:-1]))
        if _LOOKS_LIKE_IPV4.fullmatch(host):
            return str(IPv4Address(host))
    except AddressValueError:
        raise AddressInvalid("the host is no IP address") from None
    if ":" in host:
        raise AddressInvalid("an IPv6 address stands in brackets")
    if not _HOST_NAME.fullmatch(host):
        raise AddressInvalid("the host is neither an IP address nor a name")
    return host


def endpoint_of(
    reactor: IReactorTime, address: RelayAddress, timeout: float
) -> IStreamClientEndpoint:
    """How to connect to an address; only a name is looked up.

    :param timeout: seconds until the connection is given up.
    """
    return _kind_of(address.host)(reactor, address.host, address.port, timeout)


def _kind_of(host: str) -> Callable[..., IStreamClientEndpoint]:
    if ":" in host:
        return TCP6ClientEndpoint
    # HostnameEndpoint refuses names that are none on the Internet, and only in a container or so.
    own_name = "_" in host
    return TCP4ClientEndpoint if own_name or _LOOKS_LIKE_IPV4.fullmatch(host) else HostnameEndpoint
