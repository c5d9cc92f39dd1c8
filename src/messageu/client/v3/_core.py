"""The rules of a client of v3, without a network: what comes in, what goes out, what is kept.

Everything that lasts is in the database, and every input is one transaction. What is kept in memory
is forgotten with the connection, so that a client that is killed goes on as one that lost it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from messageu.model.v3 import Identity
from messageu.wire.v3 import Request, Response

from ._database import Connection
from ._events import Event
from ._interfaces import FileReceiver, FileSender, Prepared
from ._values import Contact, Profile, StoredMessage, Trust, Verdict


class Core:
    """A client's state and rules. Not for several threads.

    Each method is a transaction. Any may raise :class:`StateFailed`; then nothing was done, and
    if there is a connection, :attr:`verdict` ends it.
    """

    @classmethod
    def create(
        cls,
        connection: Connection,
        relay: str,
        *,
        now: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = secrets.token_bytes,
        file_sender: FileSender | None = None,
        file_receiver: FileReceiver | None = None,
    ) -> Self:
        """Make a profile with new keys in an empty database.

        :param relay: its address with its pin, as text; it is compared and shown, not looked into.
        """
        raise NotImplementedError

    def __init__(
        self,
        connection: Connection,
        *,
        now: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = secrets.token_bytes,
        file_sender: FileSender | None = None,
        file_receiver: FileReceiver | None = None,
    ) -> None:
        """Go on with the profile in a database.

        :raises StateInvalid: when there is none, or one of another version.
        """
        raise NotImplementedError

    # The connection's side.

    def begin(self) -> None:
        """Somebody is about to dial.

        :raises StaleState: when this profile must be reset first.
        """
        raise NotImplementedError

    def connected(self, channel_binding: bytes) -> None:
        """The handshake is complete and the relay is the right one."""
        raise NotImplementedError

    def receive(self, response: Response) -> None:
        """The relay answers or pushes."""
        raise NotImplementedError

    def disconnected(self) -> None:
        """The connection is gone, or could not be made. Doing so again does nothing."""
        raise NotImplementedError

    def requests(self) -> Sequence[Request]:
        """What is to be written now. A bounded part of it: ask again when it is written, and
        after every input, until there is nothing."""
        raise NotImplementedError

    def events(self) -> Sequence[Event]:
        """What the user should hear of since the last call."""
        raise NotImplementedError

    def tick(self) -> None:
        """Time has passed. Sooner or later than :meth:`next_tick` said does no harm."""
        raise NotImplementedError

    def next_tick(self) -> float | None:
        """When :meth:`tick` has something to do, on the clock that was given."""
        raise NotImplementedError

    @property
    def verdict(self) -> Verdict | None:
        """Why the connection is to be closed; None: it is not. Gone after ``disconnected``."""
        raise NotImplementedError

    # The user's side.

    @property
    def profile(self) -> Profile:
        """Who we are."""
        raise NotImplementedError

    @property
    def admitted(self) -> bool:
        """Whether there is a connection on which the relay knows us."""
        raise NotImplementedError

    def register(self, name: str, token: bytes | None = None) -> None:
        """Ask for an account under a name, now or when there is a connection.

        ``Registered`` or ``Refused`` tells what became of it.

        :raises NameInvalid: when it can be nobody's.
        :raises NameTaken: when this profile has another already.
        """
        raise NotImplementedError

    def delete_account(self) -> None:
        """Ask the relay to forget us; ``AccountDeleted`` or ``Refused`` follows."""
        raise NotImplementedError

    def resolve(self, name: str) -> None:
        """Ask whose name it is; ``Resolved`` or ``Refused`` follows.

        :raises NameInvalid: when it can be nobody's.
        """
        raise NotImplementedError

    def set_trust(self, trust: Trust) -> None:
        """Whom we write to from now on."""
        raise NotImplementedError

    def reset(self) -> None:
        """Go on with a state that is older than what the relay knows: new sessions and prekeys.

        What was not receipted is sent again. Closes the connection, if there is one.
        """
        raise NotImplementedError

    def add_contact(
        self,
        identity: Identity,
        label: str,
        *,
        name: str | None = None,
        relay: str | None = None,
        verified: bool = False,
    ) -> Contact:
        """Have a contact, from a link or a name that was resolved. Who asked to write is accepted.

        :raises ContactInvalid: when the label is empty or too long, or it is ourselves.
        :raises ContactExists: when the label is another's, or he is a contact already.
        :raises OtherRelay: when he is at another relay.
        :raises TooManyContacts: when there are too many.
        """
        raise NotImplementedError

    def contacts(self) -> Sequence[Contact]:
        """Whom we have accepted or blocked, by label."""
        raise NotImplementedError

    def message_requests(self) -> Sequence[Contact]:
        """Who asks to write to us, the oldest first."""
        raise NotImplementedError

    def contact(self, who: Identity | str) -> Contact:
        """Somebody, by identity or label.

        :raises ContactUnknown: when there is none.
        """
        raise NotImplementedError

    def accept(self, who: Identity | str, label: str | None = None) -> Contact:
        """Let somebody write to us: of a request, one who was blocked or removed, too."""
        raise NotImplementedError

    def block(self, who: Identity | str) -> None:
        """Drop what somebody writes."""
        raise NotImplementedError

    def remove(self, who: Identity | str) -> None:
        """Forget somebody's messages and label. If he writes again, it is a request."""
        raise NotImplementedError

    def rename(self, who: Identity | str, label: str) -> None:
        """Call somebody otherwise.

        :raises ContactExists: when the label is another's.
        """
        raise NotImplementedError

    def verify(self, who: Identity | str, verified: bool = True) -> None:
        """Safety numbers were compared."""
        raise NotImplementedError

    def decide(self, who: Identity | str, *, replace: bool) -> Contact:
        """Somebody else has a contact's name. Whoever is the contact from now on.

        :param replace: the new one gets label and name, unverified, and the old one is removed;
            False: the old one stays, without the name.
        """
        raise NotImplementedError

    def safety_number(self, who: Identity | str) -> str:
        """60 digits that are the same for both."""
        raise NotImplementedError

    def send_text(self, who: Identity | str, text: str) -> bytes:
        """Send a text, now or when it can be; the id of the message.

        :raises TextInvalid: when it has not 1 to 65,536 bytes.
        :raises NotAccepted: when he is no accepted contact.
        :raises NotVerified: when only verified contacts are written to.
        :raises IdentityHasChanged: when his name is somebody else's.
        :raises TooMuchWaiting: when too much waits for him already.
        """
        raise NotImplementedError

    def send_file(self, who: Identity | str, file: Path | Prepared) -> bytes:
        """Send a file; the id of the message. A path is read here and now, which may take long:
        what the file sender has prepared elsewhere is taken as well.

        :raises FilesUnavailable: when there is no sender for files.
        """
        raise NotImplementedError

    def withdraw(self, message_id: bytes) -> bool:
        """Send a message no more, if it waits; whether it did."""
        raise NotImplementedError

    def messages(
        self, who: Identity | str | None = None, *, after: int = 0, limit: int = 100
    ) -> Sequence[StoredMessage]:
        """The history behind a place, the oldest first: of a contact, or of all."""
        raise NotImplementedError
