"""The small files of a client: what is read from them can be written, and is read as the same."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from messageu.client import AddressInvalid, Identity, IdentityInvalid, KeyringInvalid, parse_address
from messageu.client._address import endpoint_of
from messageu.client._keyring import PEERS_LIMIT, Keyring
from messageu.client._relay import CONNECTING_ERRORS
from messageu.model import ClientId, ListedClient
from messageu.wire import v2

OWNER: Final = ClientId(bytes(range(16)))
"""Whose keyring it is."""


def identity(data: bytes) -> None:
    """``me.info``."""
    try:
        read = Identity.decode(data)
    except IdentityInvalid:
        return
    written = read.encode()
    again = Identity.decode(written)
    assert again == read, "an identity is written as another one"
    assert again.encode() == written, "an identity is not written in one way"
    assert read.private_key.to_der() == again.private_key.to_der(), "a private key has changed"


def keyring(data: bytes) -> None:
    """``me.keys``."""
    try:
        read = Keyring.decode(data, OWNER)
    except KeyringInvalid:
        return
    assert len(read.peers) <= PEERS_LIMIT, "a keyring without a limit"
    assert not read.changed, "what was read is said to be new"
    written = read.encode()
    again = Keyring.decode(written, OWNER)
    assert (again.peers, again.relay_version) == (read.peers, read.relay_version)
    assert again.encode() == written, "a keyring is not written in one way"
    if read.relay_version is not None:
        v2.Request(OWNER, v2.ListClients(), read.relay_version).encode()
    _check_merge(read, again)


def _check_merge(read: Keyring, again: Keyring) -> None:
    """What two clients learn in one folder is known to both."""
    others = [peer.client_id for peer in read.peers][: PEERS_LIMIT - 2]
    again.learn_name(ListedClient(OWNER, b"owner"))
    again.take_up(read)
    assert again.peer(OWNER).name == b"owner", "what is new was forgotten"
    for client_id in others:
        if client_id != OWNER:
            assert again.peer(client_id) == read.peer(client_id), "what was saved was forgotten"


def address(data: bytes) -> None:
    """``server.info``."""
    text = data.decode("utf-8-sig", "replace")
    broken: list[Failure] = []
    with suppress(AddressInvalid):
        read = parse_address(text)
        assert 1 <= read.port <= 65535, "a port that is none"
        assert parse_address(str(read)) == read, "an address is written as another one"
        connecting = endpoint_of(MemoryReactorClock(), read, 1.0).connect(Factory())
        connecting.addErrback(lambda failed: failed.trap(*CONNECTING_ERRORS))
        connecting.addErrback(broken.append)
        assert not broken, "an error that a client does not know"
