"""Fetching, from relays of every habit."""

from __future__ import annotations

import errno
from itertools import count, repeat
from unittest import mock

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionAborted

from messageu.client import (
    AnswerCut,
    FileNotSaved,
    FileReceived,
    KeyReceived,
    KeyRequest,
    Message,
    RelayRefused,
    RelaySilent,
    RelayUnreachable,
    Text,
    TooLarge,
    Undecipherable,
    _fetch,
)
from messageu.client._fetch import ROUNDS_LIMIT, Fetched
from messageu.model import ListedClient, MessageId
from messageu.testing.transport import Faults
from messageu.wire import v2

from .relay import ANNA, BERN, KEY, REFUSED, ClientCase


class FetchTests(ClientCase):
    """anna fetches; she knows bern, and shares a key with him."""

    def setUp(self) -> None:
        super().setUp()
        self.share_key()

    @property
    def texts(self) -> list[str]:
        """The texts that were handed over."""
        return [message.text for message in self.shown if isinstance(message, Text)]

    def cut_next_connection(self, texts: int) -> None:
        """The next connection breaks in the middle of the text after so many."""
        self.relay.faults.append(Faults(cut_after=7 + texts * (25 + 16) + 30))

    def test_nothing_waits(self) -> None:
        """An empty mailbox is one request."""
        self.assertEqual(self.fetch(), Fetched(0, True))
        self.assertEqual(self.relay.codes, [604])

    def test_all_kinds(self) -> None:
        """Each message is handed over as what it is, with its sender."""
        self.relay.put(BERN, ANNA, 1, b"")
        self.relay.put_key()
        self.relay.put_text("hello")
        self.relay.put(BERN, ANNA, 4, KEY.seal(b"content"))
        self.relay.put(BERN, ANNA, 9, b"")
        self.assertEqual(self.fetch(), Fetched(5, True))
        kinds = [type(message) for message in self.shown]
        self.assertEqual(kinds, [KeyRequest, KeyReceived, Text, FileReceived, Undecipherable])
        self.assertEqual({message.sender.name for message in self.shown}, {b"bern"})
        self.assertEqual(self.shown[3].path.read_bytes(), b"content")

    def test_asks_until_nothing_comes(self) -> None:
        """A fetch ends with an empty answer, which tells our relay that all has arrived."""
        for deletes in ("sent", "seen"):
            for closes in (False, True):
                self.relay.deletes, self.relay.closes = deletes, closes
                self.relay.put_text("hello")
                self.relay.requests.clear()
                self.shown.clear()
                self.assertEqual(self.fetch().count, 1)
                if deletes == "sent" or not closes:
                    self.assertEqual(self.relay.codes, [604, 604])

    def test_relay_that_never_deletes(self) -> None:
        """The same again ends a fetch; it is handed over once, and what is new later as well."""
        self.relay.deletes = "never"
        self.relay.put_text("one")
        self.assertEqual(self.fetch(), Fetched(1, True))
        self.assertEqual(self.relay.codes, [604, 604])
        self.relay.put_text("two")
        self.assertEqual(self.fetch(), Fetched(1, True))
        self.assertEqual(self.texts, ["one", "two"])

    def test_relay_that_never_deletes_nor_numbers(self) -> None:
        """Without ids nothing is withheld, and the fetch still ends."""
        self.relay.deletes = "never"
        self.relay.numbers = repeat(0)
        self.relay.put_text("one")
        self.assertEqual(self.fetch(), Fetched(2, True))
        self.assertEqual(self.texts, ["one", "one"])

    def test_equal_messages_with_equal_ids(self) -> None:
        """Equal texts with one id, from a relay that deletes, are all handed over."""
        for number in (0, 7):
            self.relay.numbers = repeat(number)
            for _ in range(2):
                self.shown.clear()
                self.relay.put_text("ping")
                self.relay.put_text("ping")
                self.fetch()
                self.assertEqual(self.texts, ["ping", "ping"])

    def test_ends_at_a_bound(self) -> None:
        """A relay that always has something new does not hold a fetch for ever."""
        numbers = count(1)
        answers = (
            v2.WaitingMessages(
                (v2.WaitingMessage(BERN.client_id, MessageId(next(numbers)), 1, b""),)
            ).encode()
            for _ in range(ROUNDS_LIMIT + 1)
        )
        self.relay.says.extend(answers)
        self.assertEqual(self.fetch(), Fetched(ROUNDS_LIMIT, False))

    def test_refusal_is_an_error(self) -> None:
        """9000 to the first request is reported."""
        self.relay.says.extend([REFUSED, REFUSED])
        self.fails(self.client.fetch(self.shown.append), RelayRefused)

    def test_later_refusal_is_an_empty_answer(self) -> None:
        """Who answers 9000 when nothing is left is understood."""
        self.relay.put_text("hello")
        self.relay.says.extend([self.waiting(), REFUSED])
        self.assertEqual(self.fetch(), Fetched(1, True))

    def waiting(self) -> bytes:
        """What waits for anna, as an answer."""
        return v2.WaitingMessages(tuple(self.relay.mail.get(ANNA.client_id, ()))).encode()

    def test_broken_answer_loses_nothing(self) -> None:
        """What had arrived when an answer broke is handed over, and then it is an error."""
        for text in ("one", "two", "three"):
            self.relay.put_text(text)
        self.cut_next_connection(2)
        self.fails(self.client.fetch(self.shown.append), AnswerCut)
        self.assertEqual(self.texts, ["one", "two"])

    def test_redelivery_is_not_shown_twice(self) -> None:
        """What our relay sends again after a broken answer is handed over once."""
        self.relay.deletes = "seen"
        for text in ("one", "two", "three", "one"):
            self.relay.put_text(text)
        for texts in (2, 1):
            self.cut_next_connection(texts)
            self.fails(self.client.fetch(self.shown.append), AnswerCut)
        self.assertEqual(self.fetch(), Fetched(2, True))
        self.assertEqual(self.texts, ["one", "two", "three", "one"])
        self.assertEqual(self.relay.mail[ANNA.client_id], [])

    def test_acknowledgement_that_fails(self) -> None:
        """A whole answer of which the relay does not learn is handed over once, too, and the
        next fetch tells it."""
        self.relay.deletes = "seen"
        self.relay.put_text("hello")
        self.relay.closes = True
        self.relay.faults.extend([Faults(), Faults(cut_after=0)])
        self.fails(self.client.fetch(self.shown.append), AnswerCut)
        self.relay.closes = False
        self.assertEqual(self.fetch(), Fetched(0, True))
        self.assertEqual(self.texts, ["hello"])
        self.assertEqual(self.relay.mail[ANNA.client_id], [])

    def test_oversized_message(self) -> None:
        """A message above the limit is said to be there, and the others come."""
        large = bytes(v2.DEFAULT_CONTENT_LIMIT + 1)
        self.relay.put_text("before")
        self.relay.put(BERN, ANNA, 4, large)
        self.relay.put_text("after")
        self.fetch()
        self.assertEqual(self.texts, ["before", "after"])
        self.assertEqual(self.shown[1], TooLarge())

    def test_slow_application(self) -> None:
        """The next message comes when the application is done with the one before."""
        self.relay.put_text("one")
        self.relay.put_text("two")
        turns: list[Deferred[None]] = []

        def show(message: Message) -> Deferred[None]:
            self.shown.append(message)
            turns.append(Deferred())
            return turns[-1]

        fetching = self.client.fetch(show)
        self.relay.run()
        self.assertEqual(self.texts, ["one"])
        turns[0].callback(None)
        self.relay.run()
        self.assertEqual(self.texts, ["one", "two"])
        turns[1].callback(None)
        self.assertEqual(self.get(fetching), Fetched(2, True))

    def test_application_that_fails(self) -> None:
        """What an application failed to take comes again from our relay, and nothing else."""
        self.relay.deletes = "seen"
        for text in ("one", "two"):
            self.relay.put_text(text)

        def show(message: Text) -> None:
            if message.text == "two":
                raise ZeroDivisionError
            self.shown.append(message)

        self.fails(self.client.fetch(show), ZeroDivisionError)
        self.assertEqual(len(self.relay.mail[ANNA.client_id]), 2)
        self.assertEqual(self.fetch(), Fetched(1, True))
        self.assertEqual(self.texts, ["one", "two"])

    def test_file_that_cannot_be_saved(self) -> None:
        """When the disk is full the other messages are handed over, and our relay keeps the
        file, whatever else the application asks at the same time."""
        self.relay.deletes = "seen"
        self.relay.put_text("before")
        self.relay.put(BERN, ANNA, 4, KEY.seal(b"content"))
        self.relay.put_text("after")
        with mock.patch("tempfile.mkstemp", side_effect=OSError(errno.ENOSPC, "disk full")):
            fetching = self.client.fetch(self.shown.append)
            listing = self.client.list_clients()
            text = self.fails(fetching, FileNotSaved)
        self.get(listing)
        self.assertIn("disk full", text)
        self.assertEqual(self.texts, ["before", "after"])
        self.assertEqual(len(self.relay.mail[ANNA.client_id]), 3)
        self.assertEqual(self.fetch(), Fetched(1, True))
        self.assertEqual(self.shown[-1].path.read_bytes(), b"content")

    def test_keys_are_saved(self) -> None:
        """A key that was received is there in the next run, even if the answer broke after it."""
        other = type(KEY)(b"o" * 16)
        with mock.patch("tests.client.relay.KEY", other):
            self.relay.put_key()
        self.relay.put_text("cut")
        self.relay.faults.append(Faults(cut_after=7 + 25 + 128 + 10))
        self.fails(self.client.fetch(self.shown.append), AnswerCut)
        ring = self.client_in(self.folder).keyring
        self.assertEqual(ring.peer(BERN.client_id).symmetric_key, other)

    def test_two_fetches(self) -> None:
        """Fetches wait for each other; a message goes to one of them."""
        self.relay.put_text("hello")
        first = self.client.fetch(self.shown.append)
        second = self.client.fetch(self.shown.append)
        self.assertEqual(self.get(first).count + self.get(second).count, 1)

    def test_cancelled_in_the_queue(self) -> None:
        """A fetch that waits for another can be cancelled."""
        self.relay.says.append(None)
        first = self.client.fetch(self.shown.append)
        second = self.client.fetch(self.shown.append)
        second.cancel()
        self.fails(second, CancelledError)
        first.cancel()
        self.fails(first, CancelledError)


class NamelessTests(ClientCase):
    """anna fetches; she knows nobody."""

    @property
    def names(self) -> list[bytes | None]:
        """The senders' names, in the order of the messages."""
        return [message.sender.name for message in self.shown]

    def test_names_are_asked_for(self) -> None:
        """When a sender is not known, the list is asked for, once for an answer."""
        self.relay.put(BERN, ANNA, 1, b"")
        self.relay.put(ANNA, ANNA, 1, b"")
        self.fetch()
        self.assertEqual(self.relay.codes, [604, 601, 604])
        self.assertEqual(self.names, [b"bern", None])

    def test_asking_for_names_acknowledges_nothing(self) -> None:
        """The list is asked for on another connection, so that our relay keeps the messages until
        they have been handed over, and deletes them then."""
        self.relay.deletes = "seen"
        kept: list[int] = []
        for _ in range(2):
            self.relay.put(BERN, ANNA, 1, b"")
        self.get(self.client.fetch(lambda _: kept.append(len(self.relay.mail[ANNA.client_id]))))
        self.assertEqual(kept, [2, 2])
        self.assertEqual(self.relay.mail[ANNA.client_id], [])
        self.assertEqual(len(self.relay.lines), 2)

    def test_one_connection_at_a_time(self) -> None:
        """A relay that leaves the other connection waiting is asked after its answer."""
        for _ in range(2):
            self.relay.put(BERN, ANNA, 1, b"")
        self.relay.says.extend([self.one_request(), None])
        fetching = self.client.fetch(self.shown.append)
        self.relay.run()
        self.assertEqual(self.shown, [])
        self.clock.advance(6)
        self.get(fetching)
        self.assertEqual(self.relay.codes, [604, 601, 601, 604])
        self.assertEqual(self.names, [b"bern", b"bern"])

    def test_no_room_in_the_keyring(self) -> None:
        """Somebody for whom there was no room in the keyring has a name all the same."""
        self.client.keyring._limit = 0
        self.relay.put(BERN, ANNA, 1, b"")
        self.fetch()
        self.assertEqual(self.names, [b"bern"])

    def test_order_is_kept(self) -> None:
        """A message from somebody known does not overtake one from somebody unknown."""
        self.client.keyring.learn_name(ListedClient(ANNA.client_id, b"self"))
        self.relay.put(BERN, ANNA, 1, b"")
        self.relay.put(ANNA, ANNA, 1, b"")
        self.fetch()
        self.assertEqual(self.names, [b"bern", b"self"])

    def test_list_cannot_be_had(self) -> None:
        """When the list is refused, messages come without names."""
        self.relay.put(BERN, ANNA, 1, b"")
        self.relay.says.extend([self.one_request(), *[REFUSED] * 4])
        self.fetch()
        self.assertEqual(self.names, [None])

    def one_request(self) -> bytes:
        """An answer that holds what waits."""
        return v2.WaitingMessages(tuple(self.relay.mail[ANNA.client_id])).encode()

    def test_cancelled_while_names_are_asked_for(self) -> None:
        """A fetch that is cancelled then hands over what it has."""
        self.relay.put(BERN, ANNA, 1, b"")
        self.relay.says.extend([self.one_request(), None])
        fetching = self.client.fetch(self.shown.append)
        self.relay.run()
        self.assertEqual(self.relay.codes, [604, 601])
        fetching.cancel()
        self.fails(fetching, CancelledError)
        self.assertEqual(self.names, [None])

    def test_broken_answer(self) -> None:
        """When the answer breaks, what has arrived is handed over, if need be without names."""
        self.relay.deletes = "never"
        self.relay.put(BERN, ANNA, 1, b"")
        self.relay.put(BERN, ANNA, 1, b"")
        for number, (name, asides) in enumerate(((b"bern", []), (None, [REFUSED, REFUSED]))):
            self.shown.clear()
            self.relay.says.extend([self.one_request(), *asides])
            self.relay.faults.append(Faults(cut_after=7 + 25 + 10))
            client = self.client_in(self.folder_of(ANNA, f"broken {number}"))
            self.fails(client.fetch(self.shown.append), AnswerCut)
            self.assertEqual(self.names, [name])

    def test_silent_relay(self) -> None:
        """A relay that falls silent in the middle is given up, with nothing lost."""
        self.relay.put(BERN, ANNA, 1, b"")
        self.relay.says.append(self.one_request()[:-1])
        fetching = self.client.fetch(self.shown.append)
        self.relay.run()
        self.clock.advance(31)
        self.fails(fetching, RelaySilent)
        self.assertEqual(self.shown, [])

    def test_few_wait_for_names(self) -> None:
        """No more than a number of messages, or of bytes, wait; the others go without names."""
        for limit, value in (("NAMELESS_LIMIT", 2), ("NAMELESS_SIZE_LIMIT", 20)):
            self.shown.clear()
            client = self.client_in(self.folder_of(ANNA, limit))
            for _ in range(3):
                self.relay.put(BERN, ANNA, 1, bytes(10))
            self.relay.says.extend([self.one_request(), REFUSED, REFUSED])
            with mock.patch.object(_fetch, limit, value):
                self.get(client.fetch(self.shown.append))
            self.assertEqual(self.names, [None, None, b"bern"])

    def test_unreachable(self) -> None:
        """Without a relay there is nothing to fetch."""
        self.relay.unreachable.append(ConnectionAborted())
        self.fails(self.client.fetch(self.shown.append), RelayUnreachable)
