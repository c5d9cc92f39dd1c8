"""Accounts of v3 that the attackers and their victims have: the same in each process, by number."""

from __future__ import annotations

import time
from hashlib import sha256
from itertools import count

from attrs import evolve, field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from OpenSSL import SSL

from messageu.model import ClientId
from messageu.model.v3 import (
    BUNDLE_LIFE,
    GENERATION_BITS,
    HPKE_KEY_SIZE,
    Bundle,
    EnvelopeId,
    IdentityKeys,
    OneTimeKey,
    SealedEnvelope,
    authentication_text,
    one_time_key_text,
)
from messageu.wire import v3

BINDING_LABEL = b"EXPORTER-Channel-Binding"

_envelopes = count(time.time_ns())


def context(
    protocols: tuple[bytes, ...] = (b"messageu/3",), version: int = SSL.TLS1_3_VERSION
) -> SSL.Context:
    """TLS of a client that speaks these protocols, up to a version, and believes any certificate."""
    made = SSL.Context(SSL.TLS_CLIENT_METHOD)
    made.set_max_proto_version(version)
    made.set_verify(SSL.VERIFY_NONE)
    # Thousands of connections are in one process.
    made.set_mode(SSL._lib.SSL_MODE_RELEASE_BUFFERS)
    if protocols:
        made.set_alpn_protos(list(protocols))
    return made


def envelope(recipient: ClientId, sealed: bytes) -> v3.Send:
    """Something for a mailbox, under an id that nothing else has."""
    name = EnvelopeId(sha256(b"%d" % next(_envelopes)).digest()[:16])
    return v3.Send(SealedEnvelope(recipient, name, 1, sealed))


@frozen
class Person:
    """The owner of an account."""

    number: int
    _ed25519: Ed25519PrivateKey = field(init=False, repr=False)
    keys: IdentityKeys = field(init=False, repr=False)

    @_ed25519.default
    def _make_key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self._seed(b"ed25519"))

    @keys.default
    def _make_keys(self) -> IdentityKeys:
        curve25519 = X25519PrivateKey.from_private_bytes(self._seed(b"curve25519"))
        return IdentityKeys(
            self._ed25519.public_key().public_bytes_raw(),
            curve25519.public_key().public_bytes_raw(),
        )

    def _seed(self, of: bytes) -> bytes:
        return sha256(of + b"%d" % self.number).digest()

    @property
    def account(self) -> ClientId:
        """Where his mail goes."""
        return self.keys.identity.account_id

    @property
    def name(self) -> bytes:
        """His name."""
        return b"person-%d" % self.number

    def proof(self, nonce: bytes, tls: SSL.Connection) -> v3.Authenticate:
        """He signs that this connection is his. Later generations are higher."""
        binding = tls.export_keying_material(BINDING_LABEL, 32, None)
        generation = time.time_ns() // 1_000_000 << GENERATION_BITS
        text = authentication_text(nonce, self.keys.identity, generation, binding)
        return v3.Authenticate(self.keys, generation, self._ed25519.sign(text))

    def prekeys(self, one_time_keys: int) -> v3.Publish:
        """His bundle, and so many one-time keys."""
        identity = self.keys.identity
        not_after = int(time.time() + BUNDLE_LIFE)
        bundle = Bundle(identity, 1, not_after, 1, bytes(HPKE_KEY_SIZE), 1, bytes(32), bytes(64))
        bundle = evolve(bundle, signature=self._ed25519.sign(bundle.signed_text))
        keys = [
            OneTimeKey(
                key_id,
                bytes(32),
                self._ed25519.sign(one_time_key_text(identity, key_id, bytes(32))),
            )
            for key_id in range(1, one_time_keys + 1)
        ]
        return v3.Publish(bundle, tuple(keys))
