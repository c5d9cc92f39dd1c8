"""The rules of a client of v3, without a network: what comes in, what goes out, what is kept.

Everything that lasts is in the database, and every input is one transaction. What is kept in memory
is forgotten with the connection, so that a client that is killed goes on as one that lost it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from messageu.crypto.v3 import DISPLAY_NAME_SIZE_LIMIT, Kind, safety_number
from messageu.model import InvalidValue
from messageu.model.v3 import Handle, Identity, label
from messageu.wire.v3 import Request, Response

from .._errors import TooManyRequests
from . import _account as account
from . import _contacts as contacts
from . import _conversations as conversations
from . import _history as history
from . import _inbox as inbox
from . import _naming as naming
from . import _outbox as outbox
from . import _receipts as receipts
from . import _transfers as transfers
from ._answers import receive
from ._contacts import Peer
from ._database import Connection, DatabaseError, transaction
from ._errors import FilesUnavailable, NameInvalid, NameTaken, StateFailed, TextInvalid
from ._events import Event
from ._interfaces import FileReceiver, FileSender, Prepared
from ._link import Errands, Link, Phase
from ._schema import check_tables, create_tables
from ._unit import Tools, Unit
from ._values import (
    TEXT_SIZE_LIMIT,
    Contact,
    Profile,
    Standing,
    StoredMessage,
    Trust,
    Verdict,
    Why,
)

NAMES_AT_ONCE: Final = 16
"""Names that are being resolved."""

PAUSE_AFTER_FAILURE: Final = 30.0
"""Seconds after which to connect again when the disk did not do its part."""

MESSAGE_ID_SIZE: Final = 16

_ONCE_LABEL: Final = label("sent once")


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
        tools = Tools(connection, now, random, file_sender, file_receiver)
        unit = Unit(tools, now())
        try:
            with transaction(connection):
                create_tables(connection)
                account.create_profile(unit, relay)
        except DatabaseError as error:
            raise StateFailed("a profile could not be made") from error
        return cls(
            connection,
            now=now,
            random=random,
            file_sender=file_sender,
            file_receiver=file_receiver,
        )

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
        check_tables(connection)
        self._tools = Tools(connection, now, random, file_sender, file_receiver)
        self._link: Link | None = None
        self._verdict: Verdict | None = None
        self._errands = Errands()
        self._events: list[Event] = []
        self._ticked = 0.0

    # The connection's side.

    def begin(self) -> None:
        """Somebody is about to dial.

        :raises StaleState: when this profile must be reset first.
        """
        self.disconnected()
        with self._input() as unit:
            account.next_generation(unit)

    def connected(self, channel_binding: bytes) -> None:
        """The handshake is complete and the relay is the right one."""
        self._link = Link(self._errands, channel_binding, self._tools.now())

    def receive(self, response: Response) -> None:
        """The relay answers or pushes."""
        link = self._link
        if link is None or self.verdict is not None:
            return
        try:
            with self._input() as unit:
                receive(link, unit, response)
        except BaseException:
            self._break_off()
            raise

    def disconnected(self) -> None:
        """The connection is gone, or could not be made. Doing so again does nothing."""
        self._link = self._verdict = None

    def requests(self) -> Sequence[Request]:
        """What is to be written now. A bounded part of it: ask again when it is written, and
        after every input, until there is nothing."""
        if self._link is None or self.verdict is not None:
            return ()
        try:
            with self._reading() as unit:
                return self._link.plan(unit)
        except BaseException:
            self._break_off()
            raise

    def events(self) -> Sequence[Event]:
        """What the user should hear of since the last call."""
        events, self._events = self._events, []
        return events

    def tick(self) -> None:
        """Time has passed. Sooner or later than :meth:`next_tick` said does no harm."""
        with self._input() as unit:
            in_flight = self._link.in_flight() if self._link is not None else ()
            outbox.expire(unit, in_flight)
            inbox.honour_due(unit)
            inbox.forget_arrivals(unit)
            account.forget_hpke_keys(unit)
            transfers.tick(unit)
            if self._link is not None:
                self._link.tick(unit)
        self._ticked = unit.now

    def next_tick(self) -> float | None:
        """When :meth:`tick` has something to do, on the clock that was given."""
        with self._reading() as unit:
            if any(time <= self._ticked for time in self._file_times(unit)):
                return self._ticked  # a file is to be read on
            times = (time for time in self._times(unit) if time is not None)
            return min((time for time in times if time > self._ticked), default=None)

    def _file_times(self, unit: Unit) -> Iterator[float]:
        for files in (self._tools.file_sender, self._tools.file_receiver):
            time = None if files is None else files.next_tick(unit.connection)
            if time is not None:
                yield time

    def _times(self, unit: Unit) -> Iterator[float | None]:
        yield outbox.next_expiry(unit)
        yield inbox.next_honour(unit, self._ticked)
        yield from self._file_times(unit)
        if self._link is None:
            return
        yield from self._link.times(unit)
        if self._link.ready(unit):
            yield receipts.next_due(unit, self._ticked)
            yield outbox.next_retry(unit, self._ticked)

    @property
    def verdict(self) -> Verdict | None:
        """Why the connection is to be closed; None: it is not. Gone after ``disconnected``."""
        return self._verdict if self._link is None else self._verdict or self._link.verdict

    @contextmanager
    def _input(self) -> Iterator[Unit]:
        """A transaction; what is told in it is heard of when it is committed."""
        unit = Unit(self._tools, self._tools.now())
        try:
            with transaction(self._tools.connection):
                yield unit
                if self._link is not None and self._link.ready(unit):
                    outbox.advance(unit)
        except (DatabaseError, OSError) as error:
            raise StateFailed("the state of this profile could not be written") from error
        self._events.extend(unit.events)

    @contextmanager
    def _reading(self) -> Iterator[Unit]:
        try:
            yield Unit(self._tools, self._tools.now())
        except (DatabaseError, OSError) as error:
            raise StateFailed("the state of this profile could not be read") from error

    def _break_off(self) -> None:
        """What is known of the connection may not agree with the database any more."""
        reason = "the state of this profile could not be written"
        self._verdict = Verdict(True, reason, PAUSE_AFTER_FAILURE)

    # The user's side.

    @property
    def profile(self) -> Profile:
        """Who we are."""
        with self._reading() as unit:
            return account.read_own(unit).profile

    @property
    def admitted(self) -> bool:
        """Whether there is a connection on which the relay knows us."""
        return self._link is not None and self._link.phase is Phase.ADMITTED

    def register(self, name: str, token: bytes | None = None) -> None:
        """Ask for an account under a name, now or when there is a connection.

        ``Registered`` or ``Refused`` tells what became of it.

        :raises NameInvalid: when it can be nobody's.
        :raises NameTaken: when this profile has another already.
        """
        wanted = _handle(name)
        with self._input() as unit:
            own = account.read_own(unit)
            if own.registered and own.name not in (None, wanted):
                raise NameTaken("you have a name at this relay already")
            unit.execute("UPDATE profile SET wanted_name = ?, wanted_token = ?", wanted, token)

    def delete_account(self) -> None:
        """Ask the relay to forget us; ``AccountDeleted`` or ``Refused`` follows."""
        self._errands.delete_account = True

    def resolve(self, name: str) -> None:
        """Ask whose name it is; ``Resolved`` or ``Refused`` follows.

        :raises NameInvalid: when it can be nobody's.
        """
        wanted = _handle(name)
        if len(self._errands.names) >= NAMES_AT_ONCE and wanted not in self._errands.names:
            raise TooManyRequests("too many names are being asked for")
        self._errands.names[wanted] = None

    def set_trust(self, trust: Trust) -> None:
        """Whom we write to from now on."""
        with self._input() as unit:
            unit.execute("UPDATE profile SET trust = ?", trust.value)

    def set_display_name(self, name: str) -> None:
        """Call ourselves so, to all to whom we have written, and to others when we do. It may be
        empty.

        :raises NameInvalid: when it has more than 256 bytes, or is no text.
        """
        try:
            raw = name.encode("utf-8")
        except UnicodeEncodeError:
            raise NameInvalid("a display name is text in UTF-8") from None
        if len(raw) > DISPLAY_NAME_SIZE_LIMIT:
            raise NameInvalid(
                f"a display name has at most {DISPLAY_NAME_SIZE_LIMIT} bytes of UTF-8"
            )
        with self._input() as unit:
            naming.set_name(unit, raw)

    def reset(self) -> None:
        """Go on with a state that is older than what the relay knows: new sessions and prekeys.

        What was not receipted is sent again. Closes the connection, if there is one.
        """
        with self._input() as unit:
            account.renew_own(unit)
            transfers.reset(unit)
            conversations.drop_all_sessions(unit)
            unit.execute("DELETE FROM outbox")
            for of in contacts.everybody(unit):
                outbox.send_again(unit, of, renumber=True)
            if self._link is not None:
                self._verdict = Verdict(True, "this profile was reset")

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
        with self._input() as unit:
            own = account.read_own(unit)
            handle = None if name is None else _handle(name)
            contacts.add(unit, own, identity, label, handle, relay, verified)
            return self._accepted(unit, identity)

    def _accepted(self, unit: Unit, identity: Identity) -> Contact:
        of = contacts.find(unit, identity)
        receipts.note_all(unit, of)
        transfers.tell_outcomes(unit, of)
        naming.is_due(unit, of)
        return contacts.shown(unit, of)

    def contacts(self) -> Sequence[Contact]:
        """Whom we have accepted or blocked, by label."""
        with self._reading() as unit:
            found = contacts.listed(unit, Standing.ACCEPTED, Standing.BLOCKED)
            return sorted(found, key=lambda contact: contact.label)

    def message_requests(self) -> Sequence[Contact]:
        """Who asks to write to us, the oldest first."""
        with self._reading() as unit:
            return contacts.listed(unit, Standing.REQUEST)

    def contact(self, who: Identity | str) -> Contact:
        """Somebody, by identity or label.

        :raises ContactUnknown: when there is none.
        """
        with self._reading() as unit:
            return contacts.shown(unit, contacts.find(unit, who))

    def accept(self, who: Identity | str, label: str | None = None) -> Contact:
        """Let somebody write to us who asks to, or who was blocked."""
        with self._input() as unit:
            of = contacts.find(unit, who)
            contacts.accept(unit, of, label)
            return self._accepted(unit, of.identity)

    def block(self, who: Identity | str) -> None:
        """Drop what somebody writes."""
        self._stand(who, Standing.BLOCKED)

    def remove(self, who: Identity | str) -> None:
        """Forget somebody's messages and label. If he writes again, it is a request."""
        self._stand(who, Standing.REMOVED)

    def _stand(self, who: Identity | str, standing: Standing) -> None:
        with self._input() as unit:
            of = contacts.find(unit, who)
            outbox.withdraw_queued(unit, of, Why.WITHDRAWN)
            contacts.set_standing(unit, of, standing)
            transfers.refuse(unit, of)
            if standing is Standing.REMOVED:
                history.hide(unit, of)

    def rename(self, who: Identity | str, label: str) -> None:
        """Call somebody otherwise.

        :raises ContactExists: when the label is another's.
        """
        with self._input() as unit:
            contacts.rename(unit, contacts.find(unit, who), label)

    def verify(self, who: Identity | str, verified: bool = True) -> None:
        """Safety numbers were compared."""
        with self._input() as unit:
            of = contacts.find(unit, who)
            unit.execute("UPDATE contacts SET verified = ? WHERE id = ?", verified, of.id)

    def decide(self, who: Identity | str, *, replace: bool) -> Contact:
        """Somebody else has a contact's name. Whoever is the contact from now on.

        :param replace: the new one gets label and name, unverified, and the old one is removed;
            False: the old one stays, without the name.
        """
        with self._input() as unit:
            of = contacts.find(unit, who)
            if replace:
                outbox.withdraw_queued(unit, of, Why.WITHDRAWN)
            identity = contacts.decide(unit, account.read_own(unit), of, replace=replace)
            return contacts.shown(unit, contacts.find(unit, identity))

    def safety_number(self, who: Identity | str) -> str:
        """60 digits that are the same for both."""
        with self._reading() as unit:
            own, of = account.read_own(unit), contacts.find(unit, who)
            return safety_number(own.identity, of.identity)

    def send_text(self, who: Identity | str, text: str, *, once: bytes | None = None) -> bytes:
        """Send a text, now or when it can be; the id of the message.

        :param once: names what is sent. Under the same name nothing more is sent to a contact, and
            the id is the same, whatever has happened in between.
        :raises TextInvalid: when it has not 1 to 65,536 bytes.
        :raises NotAccepted: when he is no accepted contact.
        :raises NotVerified: when only verified contacts are written to.
        :raises IdentityHasChanged: when his name is somebody else's.
        :raises TooMuchWaiting: when too much waits for him already.
        """
        try:
            body = text.encode("utf-8")
        except UnicodeEncodeError:
            raise TextInvalid("that is no text in UTF-8") from None
        if not 0 < len(body) <= TEXT_SIZE_LIMIT:
            raise TextInvalid(f"a text has 1 to {TEXT_SIZE_LIMIT:,} bytes of UTF-8")
        with self._input() as unit:
            of = self._sendable(unit, who)
            message_id = unit.random(MESSAGE_ID_SIZE) if once is None else _named_id(of, once)
            if once is None or not history.was_queued(unit, of, message_id):
                history.queue(unit, of, message_id, Kind.TEXT, body)
            return message_id

    def _sendable(self, unit: Unit, who: Identity | str) -> Peer:
        of = contacts.find(unit, who)
        contacts.check_sendable(account.read_own(unit), of)
        return of

    def send_file(self, who: Identity | str, file: Path | Prepared) -> bytes:
        """Send a file; the id of the message. A path is read here and now, which may take long:
        what the file sender has prepared elsewhere is taken as well.

        :raises FilesUnavailable: when there is no sender for files.
        """
        sender = self._tools.file_sender
        if sender is None:
            raise FilesUnavailable("this client has no place for files")
        with self._reading() as unit:
            self._sendable(unit, who)
        prepared = sender.prepare(file) if isinstance(file, Path) else file
        with self._input() as unit:
            of = self._sendable(unit, who)
            message_id = unit.random(MESSAGE_ID_SIZE)
            offer = sender.add(unit.connection, message_id, of.identity.account_id, prepared)
            history.queue(unit, of, message_id, Kind.FILE, offer.encode())
            return message_id

    def withdraw(self, message_id: bytes) -> bool:
        """Send a message no more, if it waits; whether it did."""
        with self._input() as unit:
            number = unit.value(
                "SELECT id FROM messages WHERE mine AND message_id = ? AND status = 0", message_id
            )
            if number is None:
                return False
            outbox.undeliver(unit, number, Why.WITHDRAWN)
            return True

    def file_outcome(self, contact: Identity, message_id: bytes) -> bool | None:
        """Whether a file of a contact has come, checked and under its name. None: it is on its way.

        :raises ContactUnknown: when there is no such contact.
        """
        with self._reading() as unit:
            return transfers.outcome_of(unit, contacts.find(unit, contact), message_id)

    def message(self, message_id: bytes, sender: Identity | None = None) -> StoredMessage | None:
        """A message of the history by its id: of a contact, or one of ours."""
        with self._reading() as unit:
            return history.find(unit, message_id, sender)

    def messages(
        self, who: Identity | str | None = None, *, after: int = 0, limit: int = 100
    ) -> Sequence[StoredMessage]:
        """The history behind a place, the oldest first: of a contact, or of all."""
        with self._reading() as unit:
            of = None if who is None else contacts.find(unit, who)
            return history.history(unit, of, after, limit)

    def earlier(
        self, who: Identity | str | None = None, *, before: int | None = None, limit: int = 100
    ) -> Sequence[StoredMessage]:
        """The history before a place, or its end, the oldest first: of a contact, or of all."""
        with self._reading() as unit:
            of = None if who is None else contacts.find(unit, who)
            return history.earlier(unit, of, before, limit)

    def count_received(self, who: Identity | str, *, after: int, most: int) -> int:
        """How many messages of a contact have come behind a place; at most ``most`` are counted."""
        with self._reading() as unit:
            return history.count_received(unit, contacts.find(unit, who), after, most)

    def last_numbers(self) -> dict[Identity, int]:
        """The place in the history of the last message with each contact."""
        with self._reading() as unit:
            return history.last_numbers(unit)


def _handle(name: str) -> str:
    try:
        return Handle.from_text(name).text
    except InvalidValue:
        raise NameInvalid(
            "a name has 3 to 32 of a-z, 0-9, '.', '_', '-', and begins with a letter or digit"
        ) from None


def _named_id(of: Peer, name: bytes) -> bytes:
    """The id of what is sent to somebody once. It is one of ours also beside those of others."""
    named = sha256(_ONCE_LABEL + of.identity.raw + name)
    return named.digest()[:MESSAGE_ID_SIZE]
