"""When mail counts as delivered: the machine, over everything that can happen to an answer."""

from __future__ import annotations

from itertools import product
from typing import Any

from attrs import define
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import ClientId, Envelope, PublicKey, UserName
from messageu.server._delivery import Delivery
from messageu.store import START, Lease, MemoryStore

HORIZON = 100

HAPPENINGS = {
    "flushed": lambda it: it.flushed(HORIZON),
    "reply": lambda it: it.heard(HORIZON, 0),
    "reply over TLS": lambda it: it.heard(HORIZON, None),
    "early request": lambda it: it.heard(HORIZON - 1, 0),
    "unacknowledged reply": lambda it: it.heard(HORIZON, 1),
    "input ended": lambda it: it.input_ended(0),
    "input ended, unacknowledged": lambda it: it.input_ended(1),
    "drained": lambda it: it.drained(unacknowledged=0, failed=False),
    "draining": lambda it: it.drained(unacknowledged=1, failed=False),
    "failed": lambda it: it.drained(unacknowledged=0, failed=True),
    "no telling": lambda it: it.drained(unacknowledged=None, failed=False),
    "broken": lambda it: it.broken(),
}

BREAKS = {"broken", "failed", "no telling"}


def expected(happenings: list[str]) -> str:
    """How an answer ends to which this happens: the rules of docs/adr/0002 once more, as prose."""
    flushed = ended = False
    for happening in happenings:
        if happening in BREAKS:
            return "returned"
        if happening == "flushed":
            flushed = True
        elif happening.startswith("input ended"):
            if flushed and happening == "input ended":
                return "settled"
            ended = True
        elif flushed and (
            happening in ("reply", "reply over TLS") or (happening == "drained" and ended)
        ):
            return "settled"
    return "open"


class Watched:
    """A delivery, and how often it has ended how."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.delivery = Delivery(
            settle=lambda: self.ends.append("settled"),
            give_back=lambda: self.ends.append("returned"),
        )


class DeliveryTests(SynchronousTestCase):
    """The machine by itself."""

    def test_everything_that_can_happen(self) -> None:
        """Whatever happens in whatever order, an answer ends as the rules say, and once."""
        for happenings in product(HAPPENINGS, repeat=4):
            watched = Watched()
            for happening in happenings:
                HAPPENINGS[happening](watched.delivery)
            end = expected(list(happenings))
            self.assertEqual(watched.ends, [] if end == "open" else [end], happenings)
            if end != "open":
                self.assertEqual(watched.delivery.state, end)

    def test_nothing_settles_before_it_has_left(self) -> None:
        """Until the kernel has the whole answer, nothing is a proof."""
        for happening in HAPPENINGS.keys() - BREAKS - {"flushed"}:
            watched = Watched()
            HAPPENINGS[happening](watched.delivery)
            self.assertEqual(watched.ends, [], happening)
            self.assertIn(watched.delivery.state, ("streaming", "last answer"))

    @given(st.lists(st.sampled_from(sorted(HAPPENINGS)), max_size=30))
    def test_long_lives(self, happenings: list[str]) -> None:
        """However long it goes on, an answer ends at most once, and stays ended."""
        watched = Watched()
        for happening in happenings:
            HAPPENINGS[happening](watched.delivery)
        end = expected(happenings)
        self.assertEqual(watched.ends, [] if end == "open" else [end])


@define
class Answer:
    """What one fetcher is being sent."""

    lease: Lease
    contents: frozenset[bytes]
    delivery: Delivery


class TwoFetchers(RuleBasedStateMachine):
    """Two connections fetch one mailbox, while mail arrives and expires and connections break."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.store = MemoryStore(now=lambda: self.now)
        self.store.open()
        self.sender = self.register(b"sender")
        self.recipient = self.register(b"recipient")
        self.accepted: set[bytes] = set()
        self.delivered: set[bytes] = set()
        self.expired: set[bytes] = set()
        self.answers: dict[int, Answer] = {}

    def register(self, name: bytes) -> ClientId:
        """A new client."""
        return result(self.store.register(UserName(name), PublicKey(bytes(160))))

    def contents(self, lease: Lease) -> frozenset[bytes]:
        """What the messages of a lease say."""
        if not lease.count:
            return frozenset()
        page = result(self.store.read(lease, START, 10**6))
        return frozenset(content for *_, content in page.pieces)

    @rule()
    def arrive(self) -> None:
        """A message is stored."""
        self.now += 1
        content = b"%d" % self.now
        result(self.store.put([Envelope(self.sender, self.recipient, 3, content)]))
        self.accepted.add(content)

    @rule(fetcher=st.sampled_from((1, 2)), most=st.integers(1, 3))
    def fetch(self, fetcher: int, most: int) -> None:
        """A fetcher asks. If it does so before its last answer is proven, that is given up."""
        if fetcher in self.answers:
            self.answers[fetcher].delivery.broken()
        lease = result(self.store.lease(self.recipient, most, 10**6, 1))
        contents = self.contents(lease)

        def settle() -> None:
            del self.answers[fetcher]
            self.delivered |= contents
            result(self.store.settle(lease))

        def give_back() -> None:
            del self.answers[fetcher]
            result(self.store.release(lease))

        self.answers[fetcher] = Answer(
            lease, contents, Delivery(settle=settle, give_back=give_back)
        )

    @rule(fetcher=st.sampled_from((1, 2)), happening=st.sampled_from(sorted(HAPPENINGS)))
    def go_on(self, fetcher: int, happening: str) -> None:
        """Something happens to a fetcher's answer."""
        if fetcher in self.answers:
            HAPPENINGS[happening](self.answers[fetcher].delivery)

    @rule(age=st.integers(0, 5))
    def expire(self, age: int) -> None:
        """What was stored longer ago expires."""
        before = self.now - age
        result(self.store.expire(before))
        self.expired |= {content for content in self.accepted if int(content) < before}

    @invariant()
    def nothing_is_lost(self) -> None:
        """What was accepted waits, unless it was delivered or has expired; and nothing else."""
        lease = result(self.store.lease(self.recipient, 10**6, 10**6, 1))
        waiting = self.contents(lease)
        result(self.store.release(lease))
        assert waiting == self.accepted - self.delivered - self.expired

    @invariant()
    def what_is_on_its_way_stays(self) -> None:
        """No message is deleted under an answer that holds it."""
        for answer in self.answers.values():
            assert self.contents(answer.lease) == answer.contents


class TwoFetchersTests(SynchronousTestCase):
    """The machine together with the leases of a store."""

    def test_all_interleavings(self) -> None:
        """Two fetchers, expiry and breaks in any order lose nothing and bring nothing back."""
        run_state_machine_as_test(TwoFetchers)


def result(deferred: Deferred[Any]) -> Any:
    """What a Deferred of the store in memory has fired with."""
    results: list[Any] = []
    deferred.addCallback(results.append)
    return results[0]
