"""A client's session, and its fetches, beside models of what they promise: over any order of
operations, answers that are cut anywhere, and relays that say anything."""

import shutil
import tempfile
from pathlib import Path

from attrs import define
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.error import ConnectionRefusedError as NobodyListens
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from messageu.client import Client, Fetched, Settings
from messageu.client._errors import AnswerCut, AnswerNonsense, ClientError, RelayError, RelayRefused
from messageu.client._session import Done, Item, Oversized, Session
from messageu.model import NOBODY, ClientId, ListedClient, MessageId, PublicKey, UserName
from messageu.testing.transport import Faults
from messageu.wire import NEED_DATA, v2
from tests.client.relay import ANNA, BERN, KEY, ForeignRelay, at_once
from tests.torture import scaled

ME = ClientId(b"m" * 16)
KEY_160 = PublicKey(bytes(160))
LIMIT = 8
"""Bytes of content that a session takes."""

BODIES = (
    v2.Register(UserName(b"anna"), KEY_160),
    v2.ListClients(),
    v2.GetPublicKey(ME),
    v2.SendMessage(ME, 3, b"sealed"),
    v2.FetchMessages(),
)
LISTED = (ListedClient(ME, b"m"), ListedClient(NOBODY, b""))
MAIL = tuple(
    v2.WaitingMessage(ME, MessageId(number), 3, bytes(size))
    for number, size in enumerate((0, LIMIT, LIMIT + 1, 3))
)
GOOD = {
    v2.Register: (v2.Registered(ME), (), v2.Registered(ME)),
    v2.ListClients: (v2.ClientsList(LISTED), LISTED, v2.EndOfClients()),
    v2.GetPublicKey: (v2.PublicKeyOf(ME, KEY_160), (), v2.PublicKeyOf(ME, KEY_160)),
    v2.SendMessage: (v2.Stored(ME, MessageId(7)), (), v2.Stored(ME, MessageId(7))),
    v2.FetchMessages: (
        v2.WaitingMessages(MAIL),
        tuple(each if len(each.content) <= LIMIT else Oversized() for each in MAIL),
        v2.EndOfMessages(),
    ),
}
"""The answer to each request, and what a session makes of it: items, and the end."""

REFUSAL = v2.GeneralError().encode()
REASONED_REFUSAL = bytes.fromhex("02 2823 03000000") + b"why"
NONSENSE = b"HTTP/1.1 400 Bad Request\r\n\r\n"


@define
class Answer:
    """What a relay says, what is to become of it, and whether one may ask on after it.

        None: that depends on how it was cut.
    :ivar behind: bytes behind the end that it announces.
    """

    data: bytes
    outcomes: list
    reusable: bool | None
    behind: int = 0


def answers(body):
    """All kinds of answers to a request."""
    response, items, end = GOOD[type(body)]
    good = [*map(Item, items), Done(end)]
    kinds = {
        "good": Answer(response.encode(), good, True),
        "refused": Answer(REFUSAL, [RelayRefused], True),
        "refused with reason": Answer(REASONED_REFUSAL, [RelayRefused], None),
        "trailing": Answer(response.encode() + b"\0", good, None, behind=1),
        "nonsense": Answer(NONSENSE, [AnswerNonsense], False),
    }
    for other, (foreign, _, _) in GOOD.items():
        if other is not type(body):
            kinds[f"for {other.__name__}"] = Answer(foreign.encode(), [AnswerNonsense], False)
    return kinds


KINDS = sorted({kind for body in BODIES for kind in answers(body)})


class SessionMachine(RuleBasedStateMachine):
    """One connection: requests, pieces of answers, ends, and results in any order."""

    def __init__(self):
        super().__init__()
        self.session = Session(v2.ResponseCodec(LIMIT))
        self.answer = None
        self.fed = 0
        self.seen = []
        self.retired = False
        self.ended = False

    @property
    def is_over(self):
        """Whether the outstanding request has had its end."""
        return bool(self.seen) and not isinstance(self.seen[-1], Item)

    @precondition(lambda self: self.session.usable)
    @rule(body=st.sampled_from(BODIES), kind=st.sampled_from(KINDS))
    def ask(self, body, kind):
        """A request goes out, and an answer of some kind begins to come."""
        request = v2.Request(ME, body)
        assert self.session.ask(request) == request.encode()
        kinds = answers(body)
        self.answer = kinds.get(kind, kinds["good"])
        self.fed = 0
        self.seen = []

    @precondition(lambda self: self.answer is not None and not self.ended)
    @rule(size=st.integers(1, 60) | st.just(1_000))
    def feed(self, size):
        """Some of the answer arrives."""
        data = self.answer.data[self.fed : self.fed + size]
        if data:
            self.session.receive_data(data)
            self.fed += len(data)

    @precondition(lambda self: self.session.usable and not self.ended)
    @rule(data=st.sampled_from((b"?", REFUSAL, v2.Stored(ME, MessageId(7)).encode())))
    def speak_unasked(self, data):
        """The relay says what nobody asked for."""
        self.session.receive_data(data)
        self.retired = True

    @rule()
    def end_input(self):
        """The relay has closed the connection."""
        self.ended = True
        self.session.end_input()

    @rule()
    def retire(self):
        """The client gives the connection up."""
        self.retired = True
        self.session.retire()

    @rule(count=st.integers(1, 10))
    def pull(self, count):
        """Ask for results."""
        for _ in range(count):
            before = self.session.usable
            try:
                result = self.session.next_result()
            except RelayError as error:
                self.note(type(error))
            else:
                if result is NEED_DATA:
                    break
                self.note(result)
            assert not before, "a result of nothing that was asked"

    def note(self, result):
        assert not self.retired, "a result of a session that was given up"
        assert not self.is_over, "a result after the end"
        self.seen.append(result)
        if result is AnswerCut:
            assert self.ended
            assert self.seen[:-1] == self.answer.outcomes[: len(self.seen) - 1]
        else:
            assert self.seen == self.answer.outcomes[: len(self.seen)], self.seen

    @invariant()
    def usable_when_it_may_be(self):
        """Only a session whose place in the stream is sure is asked on."""
        if self.session.usable:
            assert not (self.retired or self.ended)
            if self.answer is not None:
                assert self.is_over
                if self.seen[-1] in (AnswerCut, AnswerNonsense):
                    raise AssertionError(self.seen)
                assert self.fed >= len(self.answer.data) - self.answer.behind

    def teardown(self):
        """However it went, whoever goes on asking learns how it ends."""
        if self.answer is None or self.retired:
            return
        if not self.ended:
            self.feed(len(self.answer.data))
        self.pull(100)
        assert self.is_over
        if not self.ended:
            assert self.seen == self.answer.outcomes
            if self.answer.reusable is not None:
                assert self.session.usable == self.answer.reusable


class Boom(Exception):
    """What an application may raise."""


HOSTILE = (
    REFUSAL,
    NONSENSE,
    None,
    v2.WaitingMessages(()).encode(),
    v2.Stored(ME, MessageId(7)).encode(),
    v2.WaitingMessages(MAIL).encode()[:-1],
)
"""What a relay says in the place of an answer; None is silence."""


class FetchMachine(RuleBasedStateMachine):
    """anna fetches from a relay that deletes when it knows that all has arrived, as ours does, over
    connections that break anywhere; sometimes her application fails, or the relay is hostile."""

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="messageu-"))
        (self.root / "me.info").write_bytes(ANNA.encode())
        self.clock = Clock()
        self.relay = ForeignRelay()
        self.relay.deletes = "seen"
        for identity in (ANNA, BERN):
            self.relay.add(identity)
        self.client = Client(
            self.clock,
            self.root,
            Settings(download_folder=self.root, endpoint=self.relay),
            run_in_thread=at_once,
            warn=lambda _: None,
        )
        self.client.keyring.learn_name(ListedClient(BERN.client_id, BERN.name))
        self.client.keyring.share(BERN.client_id, KEY)
        self.sent = []
        self.shown = []
        self.was_hostile = False

    @rule(count=st.integers(1, 4))
    def arrive(self, count):
        """Messages wait."""
        for _ in range(count):
            self.sent.append(f"text {len(self.sent)}")
            self.relay.put_text(self.sent[-1])

    @rule()
    def break_off(self):
        """The connection that there is breaks."""
        for line in self.relay.lines:
            line.reset()
        self.relay.run()

    @rule(cut=st.integers(0, 250) | st.integers(60, 150))
    def cut_next(self, cut):
        """The next connection breaks when so many bytes of answers have come."""
        self.break_off()
        self.relay.faults.append(Faults(cut_after=cut))

    @rule(closes=st.booleans())
    def change_habit(self, closes):
        """From now on the relay closes the connection after each answer, or does not."""
        self.relay.closes = closes

    @rule(said=st.sampled_from(HOSTILE))
    def be_hostile(self, said):
        """The next thing that the relay says is no proper answer."""
        self.was_hostile = True
        self.relay.says.append(said)

    @rule()
    def be_away(self):
        """The next attempt to connect fails."""
        self.break_off()
        self.relay.unreachable.append(NobodyListens())

    @rule(failing=st.none() | st.integers(0, 3))
    def fetch(self, failing):
        """anna fetches; her application may fail to take one of the messages."""
        left = [failing]

        def show(message):
            if left[0] == 0:
                left[0] = None
                raise Boom
            left[0] = left[0] and left[0] - 1
            text = getattr(message, "text", None)
            if text is not None:
                self.shown.append(text)

        outcomes = []
        fetching = self.client.fetch(show)
        fetching.addBoth(outcomes.append)
        self.relay.run()
        for _ in range(10):
            if not outcomes:
                self.clock.advance(31)  # nobody waits for longer
                self.relay.run()
        (outcome,) = outcomes
        if isinstance(outcome, Fetched):
            if not self.was_hostile:
                self.check_complete()
        else:
            outcome.trap(ClientError, Boom)

    def check_complete(self):
        assert self.shown == self.sent, (self.shown, self.sent)
        if not self.relay.closes:
            assert not self.relay.mail.get(ANNA.client_id)

    @invariant()
    def nothing_is_lost(self):
        """What the relay has deleted was shown, in order and once. One that is hostile may delete
        what it likes, and show again what it likes; but nothing that was never sent is shown."""
        assert set(self.shown) <= set(self.sent)
        if not self.was_hostile:
            waiting = len(self.relay.mail.get(ANNA.client_id, ()))
            assert len(self.shown) >= len(self.sent) - waiting
            assert self.shown == self.sent[: len(self.shown)], self.shown

    def teardown(self):
        """When all is well again, everything comes that is there."""
        self.relay.says.clear()
        self.relay.faults.clear()
        self.relay.unreachable.clear()
        self.relay.closes = False
        self.break_off()
        self.fetch(None)
        if not self.was_hostile:
            self.check_complete()
        assert not self.relay.mail.get(ANNA.client_id)
        shutil.rmtree(self.root)


def sized(small, full):
    """How many lives a machine has."""
    return settings(max_examples=scaled(small, full), stateful_step_count=25)


class ClientModelTests(SynchronousTestCase):
    """The machines."""

    def test_session(self):
        """A session gives each request its own answer, or one error, and is used again only when
        that is sure."""
        run_state_machine_as_test(SessionMachine, settings=sized(150, 10_000))

    def test_fetch(self):
        """What a relay of ours deletes has been shown, in order and once, whatever breaks."""
        run_state_machine_as_test(FetchMachine, settings=sized(80, 2_000))
