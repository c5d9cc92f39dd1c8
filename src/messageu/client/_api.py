"""The library: one user of one relay, for an application that has its own reactor."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from messageu.crypto.v2 import CryptoError, PrivateKey, SymmetricKey, wrap
from messageu.model import (
    NOBODY,
    ClientId,
    ListedClient,
    MessageId,
    PublicKey,
    UserName,
)
from messageu.wire import v2

from ._address import endpoint_of, read_address
from ._errors import (
    AnswerNonsense,
    ContentTooLarge,
    FileMissing,
    FileRefused,
    NoSharedKey,
    NotRegistered,
    PeerKeyInvalid,
    UnknownPeer,
)
from ._fetch import Fetch, Fetched, OnMessage
from ._files import read_small
from ._identity import Identity, IdentityDraft, read_identity
from ._inbox import THREAD_FROM, LastAnswer, Opener, Run
from ._keyring import Keyring, KeyringFile, Peer, Warn
from ._protocol import Patience
from ._relay import Destination, Relay
from ._session import AnswerEvent, ItemEvent

CONTENT_SIZE_LIMIT: Final = 16 * 1024 * 1024
"""Bytes of a text or a file. Sealed, they are the largest content that our relay takes."""

LISTING_LIMIT: Final = 250_000
LISTING_SIZE_LIMIT: Final = 16 * 1024 * 1024
"""Clients of one list that are kept, and the bytes of their names; the rest is counted."""

ASIDE_PROGRESS: Final = 5.0
"""Seconds for which a relay may be silent when it is asked for names while it has another answer
of ours under way. Some serve one connection at a time, and then never answer."""

_log = Logger()

Value = TypeVar("Value")


@frozen
class Listing:
    """The clients of a relay, without ourselves.

    :ivar left_out: how many more there were than ``LISTING_LIMIT``, or than their names have
        room in ``LISTING_SIZE_LIMIT``.
    """

    clients: tuple[ListedClient, ...]
    left_out: int = 0


@frozen
class Settings:
    """What an application may choose.

    :ivar download_folder: where received files go; None: the temporary folder of the system.
    :ivar endpoint: where the relay is, instead of what ``server.info`` says.
    """

    patience: Patience = field(factory=Patience)
    download_folder: Path | None = None
    endpoint: IStreamClientEndpoint | None = None


class Client:
    """One user of one relay, with the files of one folder (docs/protocol/v2.md, "The client").

    The folder has ``server.info``; ``me.info`` and ``me.keys`` come into being there. Several
    clients may use one folder at once, and share what they learn. Nothing is read or connected
    before it is needed. Requests wait for each other, so that any number of methods may be called
    at once. Every method that returns a Deferred can be cancelled, which resets the connection;
    each fails with a :class:`ClientError` whose text a person can read, among them
    :class:`RelayError` when the relay is not there, refuses, or talks nonsense.

    :param reactor: the application's. It connects, measures time, and lends its thread pool.
    :param run_in_thread: what to do with slow work, instead of giving it to that pool.
    :param warn: is given one line when something failed that is not what was asked for.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        folder: Path,
        settings: Settings | None = None,
        *,
        run_in_thread: Run | None = None,
        warn: Warn | None = None,
    ) -> None:
        self._reactor = reactor
        self._folder = folder
        self._settings = settings if settings is not None else Settings()
        self._run_in_thread = run_in_thread if run_in_thread is not None else _pool_of(reactor)
        self._warn = warn if warn is not None else _log_warning
        self._relay = Relay(reactor, self._find, self._settings.patience)
        self._identity: Identity | None = None
        self._keyring: Keyring | None = None
        self._keyring_file = KeyringFile(folder, self._warn)
        self._last_answer = LastAnswer()
        self._registering = DeferredLock()
        self._fetching = DeferredLock()

    @property
    def identity(self) -> Identity:
        """Who we are; the file is read when that is first asked.

        :raises NotRegistered: when there is no identity file.
        :raises IdentityInvalid: when it cannot be used.
        """
        if self._identity is None:
            self._identity = read_identity(self._folder)
        if self._identity is None:
            raise NotRegistered("you are not registered")
        return self._identity

    @property
    def keyring(self) -> Keyring:
        """What is known of others, to this client and to others that use the folder.

        :raises NotRegistered: when there is no identity file.
        :raises IdentityInvalid: when it cannot be used.
        """
        if self._keyring is None:
            self._keyring = self._keyring_file.load(self.identity.client_id)
        else:
            self._keyring_file.refresh(self._keyring)
        self._relay.version = self._relay.version or self._keyring.relay_version
        return self._keyring

    def connect(self) -> Deferred[None]:
        """Connect now, instead of with the first request.

        :raises AddressInvalid: when ``server.info`` says nothing of use.
        """
        return Deferred.fromCoroutine(self._relay.connect())

    def close(self) -> Deferred[None]:
        """Close the connection. The next request opens another one."""
        return Deferred.fromCoroutine(self._relay.close())

    def register(self, name: UserName) -> Deferred[Identity]:
        """Make a key pair, register the name with the relay, and write ``me.info``.

        :raises AlreadyRegistered: when the folder has an identity.
        :raises IdentityInvalid: when it cannot be written.
        :raises RelayRefused: when the name is taken, among other reasons.
        """
        return Deferred.fromCoroutine(self._register(name))

    def list_clients(self) -> Deferred[Listing]:
        """Ask for all clients, and remember their names."""
        return Deferred.fromCoroutine(self._list_clients())

    def find(self, name: bytes) -> Deferred[Peer]:
        """The client of that name, byte for byte; the relay is asked only if it is not known.

        :raises UnknownPeer: when the relay lists nobody of that name.
        """
        return Deferred.fromCoroutine(self._find_peer(name))

    def public_key(self, peer: ClientId) -> Deferred[PublicKey]:
        """Ask for a client's public key, and remember it.

        :raises PeerKeyInvalid: when it is none; then it is not remembered.
        """
        return Deferred.fromCoroutine(self._public_key(peer))

    def request_key(self, peer: ClientId) -> Deferred[MessageId]:
        """Ask a client for a symmetric key."""
        return Deferred.fromCoroutine(self._send(peer, v2.MessageType.KEY_REQUEST, b""))

    def send_key(self, peer: ClientId) -> Deferred[MessageId]:
        """Make a symmetric key and send it to a client; once it is stored, it is the shared one.

        :raises PeerKeyInvalid: when the client's public key is none.
        """
        return Deferred.fromCoroutine(self._send_key(peer))

    def send_text(self, peer: ClientId, text: str) -> Deferred[MessageId]:
        """Send a text of at most ``CONTENT_SIZE_LIMIT`` bytes of UTF-8.

        Surrogates of ``surrogateescape`` become the bytes that they stand for.

        :raises NoSharedKey: when no symmetric key is shared with that client.
        :raises ContentTooLarge: when it is too long.
        """
        return Deferred.fromCoroutine(self._send_text(peer, text))

    def send_file(self, peer: ClientId, path: Path) -> Deferred[MessageId]:
        """Send a regular file of at most ``CONTENT_SIZE_LIMIT`` bytes. Its name is not sent.

        :raises FileMissing: when it is not there.
        :raises FileRefused: when it cannot be read, is something else, or is too large.
        :raises NoSharedKey: when no symmetric key is shared with that client.
        """
        return Deferred.fromCoroutine(self._send_file(peer, path))

    def fetch(self, on_message: OnMessage) -> Deferred[Fetched]:
        """Fetch all that waits for us, and hand it to ``on_message``, message by message.

        What is handed over may be gone from the relay. If ``on_message`` returns something that
        can be awaited, the next message comes after it; it must not wait for another request of
        this client, which would wait for the end of this one. If it raises, so does the fetch, and
        what our relay has not been told about comes again. A message that comes again is not
        handed over twice (:class:`messageu.client._inbox.LastAnswer`).

        :raises FileNotSaved: when a received file could not be written.
        """
        return Deferred.fromCoroutine(self._fetch(on_message))

    # How it is done.

    def _find(self) -> Destination:
        if self._settings.endpoint is not None:
            return Destination("the given endpoint", self._settings.endpoint)
        address = read_address(self._folder)
        timeout = self._settings.patience.connect
        return Destination(str(address), endpoint_of(self._reactor, address, timeout))

    @contextmanager
    def _saving(self) -> Iterator[Keyring]:
        """Do something that may change the keyring, and save it, however that went."""
        keyring = self.keyring
        try:
            yield keyring
        finally:
            keyring.relay_version = self._relay.version
            self._keyring_file.save(keyring)

    async def _register(self, name: UserName) -> Identity:
        async with self._registering:
            private_key = await self._run_in_thread(PrivateKey.generate)
            draft = IdentityDraft(self._folder, name, private_key)
            try:
                body = v2.Register(name, private_key.public_key)
                answer = await self._relay.ask(NOBODY, body, v2.Registered)
                identity = draft.complete(answer.client_id)
            finally:
                draft.discard()
            self._identity, self._keyring, self._last_answer = identity, None, LastAnswer()
            return identity

    async def _list_clients(self, relay: Relay | None = None) -> Listing:
        own = self.identity.client_id
        clients: list[ListedClient] = []
        room = LISTING_SIZE_LIMIT
        left_out = 0

        def take(item: ItemEvent | AnswerEvent) -> None:
            nonlocal room, left_out
            if not isinstance(item, ListedClient) or item.client_id == own:
                return
            if len(clients) < LISTING_LIMIT and len(item.name) <= room:
                clients.append(item)
                room -= len(item.name)
            else:
                left_out += 1

        with self._saving() as keyring:
            await (relay or self._relay).ask(own, v2.ListClients(), v2.EndOfClients, take)
            keyring.learn_names(clients)
        return Listing(tuple(clients), left_out)

    async def _names(self) -> Iterable[ListedClient]:
        return (await self._list_clients()).clients

    async def _names_aside(self) -> Iterable[ListedClient]:
        patience = self._settings.patience
        patience = evolve(patience, progress=min(patience.progress, ASIDE_PROGRESS))
        relay = Relay(self._reactor, self._find, patience)
        relay.version = self._relay.version
        try:
            return (await self._list_clients(relay)).clients
        finally:
            Deferred.fromCoroutine(relay.close())  # nobody has to wait for it

    async def _find_peer(self, name: bytes) -> Peer:
        with self._saving() as keyring:
            found = keyring.named(name)
            if found is None:
                listing = await self._list_clients()
                listed = next((each for each in listing.clients if each.name == name), None)
                if listed is None:
                    raise UnknownPeer("nobody is registered under that name")
                keyring.learn_name(listed)  # there may have been no room for it
                found = keyring.named(name) or keyring.peer(listed.client_id)
        return found

    async def _public_key(self, peer: ClientId) -> PublicKey:
        with self._saving() as keyring:
            body = v2.GetPublicKey(peer)
            answer = await self._relay.ask(keyring.owner, body, v2.PublicKeyOf)
            if answer.client_id != peer:
                raise AnswerNonsense("the relay gave the key of another client", begun=True)
            _sealed_for(answer.public_key, SymmetricKey.generate())  # it can be used
            keyring.learn_public_key(peer, answer.public_key)
        return answer.public_key

    async def _send(self, peer: ClientId, kind: v2.MessageType, content: bytes) -> MessageId:
        with self._saving() as keyring:
            body = v2.SendMessage(peer, kind, content)
            answer = await self._relay.ask(keyring.owner, body, v2.Stored)
        return answer.message_id

    async def _send_key(self, peer: ClientId) -> MessageId:
        with self._saving() as keyring:
            public_key = keyring.peer(peer).public_key or await self._public_key(peer)
            key = SymmetricKey.generate()
            sealed = _sealed_for(public_key, key)
            message_id = await self._send(peer, v2.MessageType.SYMMETRIC_KEY, sealed)
            keyring.share(peer, key)
        return message_id

    async def _send_text(self, peer: ClientId, text: str) -> MessageId:
        key = self._shared_key(peer)
        content = text.encode("utf-8", "surrogateescape")
        if len(content) > CONTENT_SIZE_LIMIT:
            raise ContentTooLarge(f"the text has more than {CONTENT_SIZE_LIMIT} bytes")
        if len(content) < THREAD_FROM:
            sealed = key.seal(content)
        else:
            sealed = await self._run_in_thread(key.seal, content)
        return await self._send(peer, v2.MessageType.TEXT, sealed)

    async def _send_file(self, peer: ClientId, path: Path) -> MessageId:
        content = await self._run_in_thread(_read_file, path)
        sealed = await self._run_in_thread(self._shared_key(peer).seal, content)
        return await self._send(peer, v2.MessageType.FILE, sealed)

    def _shared_key(self, peer: ClientId) -> SymmetricKey:
        key = self.keyring.peer(peer).symmetric_key
        if key is None:
            raise NoSharedKey("no symmetric key is shared with that client")
        return key

    async def _fetch(self, on_message: OnMessage) -> Fetched:
        async with self._fetching:
            with self._saving() as keyring:
                private_key = self.identity.private_key
                folder = self._settings.download_folder
                opener = Opener(private_key, keyring, self._run_in_thread, folder)
                fetch = Fetch(
                    self._relay,
                    opener,
                    self._last_answer,
                    lambda: Deferred.fromCoroutine(self._names_aside()),
                    lambda: Deferred.fromCoroutine(self._names()),
                    on_message,
                )
                return await fetch.run()


def _log_warning(line: str) -> None:
    _log.warn("{line}", line=line)


def _pool_of(reactor: Any) -> Run:
    """The thread pool of a reactor, which is asked for when it is first needed."""

    def run(function: Callable[..., Value], *arguments: object) -> Awaitable[Value]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), function, *arguments)

    return run


def _sealed_for(public_key: PublicKey, key: SymmetricKey) -> bytes:
    try:
        return wrap(public_key, key)
    except CryptoError:
        raise PeerKeyInvalid("what that client has published is no public key") from None


def _read_file(path: Path) -> bytes:
    """A file's bytes. More than the limit is never read."""
    try:
        return read_small(path, CONTENT_SIZE_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        raise FileMissing("file not found") from None
    except ValueError:  # a NUL in the path
        raise FileMissing("file not found") from None
    except OSError as error:
        if error.errno == errno.EFBIG:
            limit = CONTENT_SIZE_LIMIT // 2**20
            raise FileRefused(f"the file is larger than {limit} MiB") from None
        raise FileRefused(f"the file cannot be sent: {error.strerror}") from None
