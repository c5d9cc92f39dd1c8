"""Who speaks on a connection, and what he may ask: rules without I/O.

::

    new ──greet──▶ greeted ──prove──▶ new ──admit──▶ authenticated ──register──▶ registered
                      ▲ │                                  ▲                          │
                      └─┘ greet                            └──────────delete──────────┘

Whatever he is, ``leave`` ends it, and nothing follows.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Final, TypeAlias

from attrs import field, frozen

from messageu.crypto.signatures import is_signed
from messageu.model import ClientId
from messageu.model.v3 import IdentityKeys, Reason, authentication_text
from messageu.wire import v3


class Standing(IntEnum):
    """Who somebody has shown to be: each is what the one before it is, and more."""

    ANYBODY = 0
    AUTHENTICATED = 1
    REGISTERED = 2


_MISSING: Final = {
    Standing.ANYBODY: Reason.NOT_AUTHENTICATED,
    Standing.AUTHENTICATED: Reason.NOT_REGISTERED,
}


@frozen
class New:
    """Nobody yet, and nothing to sign."""

    standing: ClassVar = Standing.ANYBODY


@frozen
class Greeted:
    """Nobody yet; he may sign this once."""

    standing: ClassVar = Standing.ANYBODY

    nonce: bytes = field(repr=False)


@frozen
class Authenticated:
    """The owner of these keys."""

    standing: ClassVar = Standing.AUTHENTICATED

    keys: IdentityKeys
    generation: int


@frozen
class Registered(Authenticated):
    """The owner of these keys, who has an account."""

    standing: ClassVar = Standing.REGISTERED


@frozen
class Gone:
    """The connection has ended."""

    standing: ClassVar = Standing.ANYBODY


State: TypeAlias = New | Greeted | Authenticated | Registered | Gone


class Session:
    """One connection's client.

    :param channel_binding: of its connection.
    :ivar state: what is known of him.
    """

    __slots__ = ("_channel_binding", "state")

    def __init__(self, channel_binding: bytes) -> None:
        self._channel_binding = channel_binding
        self.state: State = New()

    @property
    def proven(self) -> Authenticated:
        """Whose connection it is. Only asked where the table has let somebody through who is."""
        if not isinstance(self.state, Authenticated):  # pragma: no cover - the table sees to it
            raise TypeError("nobody is authenticated here")
        return self.state

    @property
    def account(self) -> ClientId:
        """The account id of whoever is authenticated."""
        return self.proven.keys.identity.account_id

    def missing(self, wanted: Standing) -> Reason | None:
        """What he lacks for a request that wants so much, if anything."""
        standing = self.state.standing
        return None if standing >= wanted else _MISSING[standing]

    def greet(self, nonce: bytes) -> Reason | None:
        """He asks for something to sign: this. What he was given before counts no more."""
        if not isinstance(self.state, New | Greeted):
            return Reason.OUT_OF_TURN
        self.state = Greeted(nonce)
        return None

    def prove(self, proof: v3.Authenticate) -> Reason | None:
        """He says who he is, and uses up what he was given to sign. Nothing is looked up."""
        if not isinstance(self.state, Greeted):
            return Reason.OUT_OF_TURN
        nonce = self.state.nonce
        self.state = New()
        text = authentication_text(
            nonce, proof.keys.identity, proof.generation, self._channel_binding
        )
        signed = is_signed(proof.keys.ed25519, proof.signature, text)
        return None if signed else Reason.AUTH_FAILED

    def admit(self, keys: IdentityKeys, generation: int, *, registered: bool) -> None:
        """He has proven it, and the store does not object."""
        if isinstance(self.state, New):
            self.state = (Registered if registered else Authenticated)(keys, generation)

    def register(self) -> None:
        """He has an account now."""
        if isinstance(self.state, Authenticated):
            self.state = Registered(self.state.keys, self.state.generation)

    def delete(self) -> None:
        """He has no account any more."""
        if isinstance(self.state, Authenticated):
            self.state = Authenticated(self.state.keys, self.state.generation)

    def leave(self) -> None:
        """The connection has ended."""
        self.state = Gone()
