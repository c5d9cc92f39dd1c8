"""What is known of others: names, public keys and shared symmetric keys, kept beside ``me.info``.

``me.keys`` is a convenience. Losing it costs a new key exchange and nothing else, so that a file
which cannot be used is put aside, and an empty keyring takes its place.

Several clients may use one folder at once: somebody has two terminals open. Each of them reads the
file again when another has written it, and writes no more than what is new of its own over what is
there, while it holds a lock on the folder. So a key that came to one serves in all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeAlias

from attrs import evolve, field, frozen

from messageu.crypto.v2 import CryptoError, SymmetricKey
from messageu.model import ClientId, ListedClient, PublicKey

from ._errors import KeyringInvalid
from ._files import Stamp, lock_folder, read_small, replace_file, stamp_of

KEYRING_FILE: Final = "me.keys"
ASIDE_FILE: Final = "me.keys.aside"
"""Where a keyring that could not be used is put; the one before is lost then."""

PEERS_LIMIT: Final = 10_000
"""Peers that are remembered. Beyond it the relay is asked each time."""

_SIZE_LIMIT: Final = 32 * 1024 * 1024
_FORMAT: Final = 1

Warn: TypeAlias = Callable[[str], None]


@frozen
class Peer:
    """Another client, as far as it is known. ``repr`` shows no symmetric key."""

    client_id: ClientId
    name: bytes | None = None
    public_key: PublicKey | None = None
    symmetric_key: SymmetricKey | None = field(default=None, repr=False)


class Keyring:
    """The peers of one identity, without a file.

    :ivar relay_version: the version byte that the relay is known to take; None: not known.
    """

    def __init__(
        self,
        owner: ClientId,
        peers: Iterable[Peer] = (),
        relay_version: int | None = None,
        limit: int = PEERS_LIMIT,
    ) -> None:
        self.owner = owner
        self._relay_version = relay_version
        self._version_changed = False
        self._news: dict[ClientId, dict[str, Any]] = {}  # what of whom is not saved
        self._peers = {peer.client_id: peer for peer in peers}
        self._listed: frozenset[ClientId] = frozenset()
        self._limit = limit

    @property
    def relay_version(self) -> int | None:
        return self._relay_version

    @relay_version.setter
    def relay_version(self, version: int | None) -> None:
        self._version_changed |= version != self._relay_version
        self._relay_version = version

    @property
    def changed(self) -> bool:
        """Whether there is something that has not been saved."""
        return self._version_changed or bool(self._news)

    def saved(self) -> None:
        """All of it has been saved."""
        self._version_changed = False
        self._news.clear()

    @property
    def peers(self) -> tuple[Peer, ...]:
        """All of them, in the order in which they became known."""
        return tuple(self._peers.values())

    def peer(self, client_id: ClientId) -> Peer:
        """What is known of a client, if only its id."""
        return self._peers.get(client_id) or Peer(client_id)

    def named(self, name: bytes) -> Peer | None:
        """The client of that name, byte for byte.

        A relay that does its work has only one. Of several, those on the last list come first, and
        then those with whom a key is shared; else it is the one that has been known for longest.
        """
        candidates = [peer for peer in self._peers.values() if peer.name == name]
        return max(
            candidates,
            key=lambda peer: (peer.client_id in self._listed, peer.symmetric_key is not None),
            default=None,
        )

    def learn_names(self, clients: Iterable[ListedClient]) -> None:
        """Remember a list of the relay's, as far as there is room."""
        listed = []
        for client in clients:
            known = client.client_id in self._peers
            if known or len(self._peers) < self._limit:
                self._put(client.client_id, name=client.name)
                listed.append(client.client_id)
        self._listed = frozenset(listed)

    def learn_name(self, client: ListedClient) -> None:
        """Remember one client that is needed now."""
        self._put(client.client_id, name=client.name)

    def learn_public_key(self, client_id: ClientId, key: PublicKey) -> None:
        """Remember what the relay says is a client's public key."""
        self._put(client_id, public_key=key)

    def share(self, client_id: ClientId, key: SymmetricKey) -> None:
        """From now on this key is shared with that client, instead of any before."""
        self._put(client_id, symmetric_key=key)

    def take_up(self, saved: Keyring) -> None:
        """Know what somebody else has saved, and what of ours is not saved yet."""
        self._peers = {peer.client_id: peer for peer in saved.peers}
        if not self._version_changed:
            self._relay_version = saved.relay_version
        for client_id, fields in list(self._news.items()):
            self._put(client_id, **fields)

    def _put(self, client_id: ClientId, **fields: Any) -> None:
        peer = evolve(self.peer(client_id), **fields)
        if self._peers.get(client_id) == peer:
            return
        if client_id not in self._peers and len(self._peers) >= self._limit:
            self._forget_one()
        self._peers[client_id] = peer
        self._news.setdefault(client_id, {}).update(fields)

    def _forget_one(self) -> None:
        """The peer that has been known for longest, if possible one without a shared key."""
        oldest = next(iter(self._peers))
        keyless = (key for key, peer in self._peers.items() if peer.symmetric_key is None)
        forgotten = next(keyless, oldest)
        del self._peers[forgotten]
        self._news.pop(forgotten, None)

    def encode(self) -> bytes:
        """The file: JSON, with the secrets in it."""
        document = {
            "format": _FORMAT,
            "owner": self.owner.hex,
            "relay_version": self.relay_version,
            "peers": [_peer_out(peer) for peer in self._peers.values()],
        }
        return json.dumps(document, indent=1).encode("ascii") + b"\n"

    @classmethod
    def decode(cls, data: bytes, owner: ClientId) -> Keyring:
        """Read a file.

        :raises KeyringInvalid: when it is damaged, of another format, or somebody else's.
        """
        try:
            document = json.loads(data)
            if document["format"] != _FORMAT:
                raise KeyringInvalid("its format is not known")
            if ClientId.from_hex(document["owner"]) != owner:
                raise KeyringInvalid("it belongs to another identity")
            version = document["relay_version"]
            if version is not None and not (type(version) is int and 0 <= version <= 255):
                raise KeyringInvalid("it is damaged")
            peers = [_peer_in(each) for each in document["peers"]]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, CryptoError):
            raise KeyringInvalid("it is damaged") from None
        return cls(owner, peers[:PEERS_LIMIT], version)


def _peer_out(peer: Peer) -> dict[str, str]:
    fields = {"id": peer.client_id.hex}
    if peer.name is not None:
        fields["name"] = peer.name.decode("utf-8", "surrogateescape")
    if peer.public_key is not None:
        fields["public_key"] = peer.public_key.raw.hex()
    if peer.symmetric_key is not None:
        fields["symmetric_key"] = peer.symmetric_key.raw.hex()
    return fields


def _peer_in(fields: dict[str, Any]) -> Peer:
    name, public, shared = (fields.get(key) for key in ("name", "public_key", "symmetric_key"))
    return Peer(
        ClientId.from_hex(fields["id"]),
        None if name is None else name.encode("utf-8", "surrogateescape"),
        None if public is None else PublicKey(bytes.fromhex(public)),
        None if shared is None else SymmetricKey(bytes.fromhex(shared)),
    )


class KeyringFile:
    """``me.keys`` in a folder, which other programs may read and write meanwhile.

    :param warn: is given one line when something does not go as it should.
    """

    def __init__(self, folder: Path, warn: Warn) -> None:
        self._path = folder / KEYRING_FILE
        self._warn = warn
        self._seen: Stamp | None = None  # the file that the keyring knows

    def load(self, owner: ClientId) -> Keyring:
        """The keyring of an identity; an empty one when there is none.

        A file that cannot be used is put aside, with one line to ``warn``.
        """
        keyring = self._read(owner)
        return Keyring(owner) if keyring is None else keyring

    def refresh(self, keyring: Keyring) -> None:
        """Take up what somebody else has written since the keyring was read or saved."""
        if stamp_of(self._path) not in (None, self._seen):
            there = self._read(keyring.owner)
            if there is not None:
                keyring.take_up(there)

    def save(self, keyring: Keyring) -> None:
        """Write what has changed; when that fails, one line to ``warn``, and the old file stays."""
        if not keyring.changed:
            return
        try:
            with lock_folder(self._path.parent):
                self.refresh(keyring)
                replace_file(self._path, keyring.encode())
                self._seen = stamp_of(self._path)
            keyring.saved()
        except OSError as error:
            self._warn(
                f"{KEYRING_FILE} cannot be written ({error.strerror}): "
                "new symmetric keys will be lost when this program ends"
            )

    def _read(self, owner: ClientId) -> Keyring | None:
        """What is in the file; None when there is nothing of use."""
        self._seen = stamp_of(self._path)  # before, so that it is rather read once too often
        try:
            return Keyring.decode(read_small(self._path, _SIZE_LIMIT), owner)
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = f"it cannot be read: {error.strerror}"
        except KeyringInvalid as error:
            reason = str(error)
        try:
            self._path.replace(self._path.with_name(ASIDE_FILE))
            fate = f"it is now {ASIDE_FILE}"
        except OSError as error:
            fate = f"it cannot be put aside: {error.strerror}"
        self._warn(
            f"{KEYRING_FILE} is not used, symmetric keys must be exchanged anew: {reason}; {fate}"
        )
        return None
