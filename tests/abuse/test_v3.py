"""Attacks on v3 over real sockets and TLS, beside honest people who go on (docs/reliability.md)."""

from __future__ import annotations

from collections import Counter

from messageu.wire import v3
from tests.torture import scaled

from .honest_v3 import Sealed
from .people import Person, envelope
from .relay_v3 import V3AbuseTestCase
from .swarm_v3 import MALFORMED, SEALED

VICTIM = 500
"""The number of somebody whom the attackers have chosen."""

MANY = 3_990
"""Connections at full size: nearly as many as there may be."""

ANSWERS = {
    "HelloFlooder": "answered 2700",
    "UnknownFlooder": "error unknown_request",
    "Rubbish": "answered 2708",
    "Subscriber": "answered 2707",
}
"""What each of these is answered."""


class StandstillTests(V3AbuseTestCase):
    """Those who begin something, and do not end it."""

    def test_before_tls(self) -> None:
        """Whoever does not begin TLS, stops in the middle of it, or drips it, is reset at its
        deadline; and whoever sends more than it takes, at once."""
        self.start_relay(**scaled({"handshake_deadline": 1}, {}))
        kinds = ("Silent", "HalfHello", "HelloDrip", "LongHello")
        for some in scaled([kinds], [(kind,) for kind in kinds]):
            count = scaled(160, MANY)
            fates = self.attack(
                f"v3, before TLS: {some[0]}",
                ",".join(some),
                count=count,
                total=count,
                sources=count,
                seconds=scaled(20, 60),
            )
            self.assertEqual(fates["connected"], count)
            self.assertEqual(fates["reset"], count)
        met = self.status()
        each = count // len(some)
        self.assertEqual(int(met["met_handshake_bytes"]), each)
        self.assertEqual(int(met["met_handshake_deadline"]), 3 * each)
        self.assertIn("has met a limit: handshake_deadline", self.stop_relay())

    def test_before_authentication(self) -> None:
        """Whoever says nothing over TLS, or holds a part of a record, or says hello and pings, and
        never authenticates, is sent away in time, with a goodbye."""
        self.start_relay(**scaled({"authentication_deadline": 1}, {}))
        kinds = ("Mute", "PartialRecord", "Stranger")
        for some in scaled([kinds], [(kind,) for kind in kinds]):
            count = scaled(120, MANY)
            fates = self.attack(
                f"v3, before authentication: {some[0]}",
                ",".join(some),
                count=count,
                total=count,
                sources=count,
                seconds=scaled(20, 200),
            )
            self.assertEqual(fates["up"], count)
            self.assertEqual(fates["answered 2723"], count)
            self.assertEqual(fates["closed"], count)
        self.assertGreaterEqual(fates["answered 2710"], count // len(some))
        self.assertEqual(int(self.status()["met_authentication_deadline"]), scaled(1, 3) * count)
        self.assertIn("has met a limit: authentication_deadline", self.stop_relay())

    def test_half_envelopes(self) -> None:
        """Of those who send nearly all of the largest envelope at once the oldest are sent away when
        they hold too much together, and the others at the frame's deadline."""
        small = {"frame_deadline": 2, "content": 1 << 20, "input_bytes": 8 << 20}
        self.start_relay(**scaled(small, {}))
        count = scaled(40, 1_000)
        fates = self.attack(
            "v3, the largest envelopes but for 100 bytes",
            "HalfEnvelope",
            count=count,
            total=count,
            sources=count,
            seconds=scaled(30, 200),
        )
        self.assertEqual(fates["error malformed"], count)
        self.assertEqual(fates["closed"], count)
        log = self.stop_relay()
        self.assertIn("has met a limit: input_bytes", log)
        self.assertIn("has met a limit: frame_deadline", log)


class FloodTests(V3AbuseTestCase):
    """Those who come in a flood, and say what makes no sense."""

    def test_handshakes(self) -> None:
        """Handshakes after which the client hangs up; those that are not for us are counted, and
        nothing comes of them."""
        self.start_relay()
        others = ("NoTls", "NoAlpn", "OtherAlpn", "OldTls")
        each = scaled(40, 10_000)
        fates = Counter()
        for kinds in scaled([("Hanger", *others)], [("Hanger",), others]):
            fates += self.attack(
                f"v3, handshakes: {', '.join(kinds)}",
                ",".join(kinds),
                count=64,
                total=len(kinds) * each,
                seconds=scaled(30, 900),
            )
        self.assertEqual(fates["done"], each)
        self.assertEqual(fates["up"], 2 * each)  # without an ALPN the client believes so
        self.assertEqual(fates["refused"], 2 * each)
        self.assertEqual(fates["closed"] + fates["reset"], 2 * each)
        self.assertEqual(int(self.status()["met_not_our_protocol"]), 4 * each)
        self.stop_relay()

    def test_malformed(self) -> None:
        """Whoever sends what is no frame, a frame that is too large, or a payload that contradicts
        itself, is told so and sent away, each time."""
        self.start_relay()
        total = len(MALFORMED) * scaled(4, 500)
        fates = self.attack(
            "v3, malformed frames", "Malformer", count=64, total=total, seconds=scaled(30, 300)
        )
        self.assertEqual(fates["error malformed"], total)
        self.assertEqual(fates["closed"] + fates["reset"], total)
        self.stop_relay()

    def test_requests(self) -> None:
        """Thousands of requests one after another, without an account: each is answered."""
        self.start_relay()
        kinds = ("HelloFlooder", "UnknownFlooder")
        each = scaled(5, 100)
        amounts = scaled((200, 200), (20_000, 500))
        for some in scaled([kinds], [(kind,) for kind in kinds]):
            fates = self.attack(
                f"v3, requests of strangers: {', '.join(some)}",
                ",".join(some),
                count=len(some) * each,
                total=len(some) * each,
                amount=amounts[kinds.index(some[0])],
                seconds=scaled(30, 900),
            )
            self.assertEqual(fates["done"], len(some) * each)
            for kind, amount in zip(kinds, amounts, strict=True):
                if kind in some:
                    self.assertEqual(fates[ANSWERS[kind]], each * amount)
        self.stop_relay()

    def test_forgers(self) -> None:
        """Whoever authenticates with wrong signatures is refused each time; from one address only so
        many are looked at."""
        self.start_relay(authentications_a_minute=100)
        count, amount = scaled(10, 500), 25
        fates = self.attack(
            "v3, wrong signatures from many addresses",
            "Forger",
            count=count,
            total=count,
            sources=count,
            amount=amount,
            seconds=scaled(30, 300),
        )
        self.assertEqual(fates["error auth_failed"], count * amount)
        amount = scaled(400, 20_000)
        fates = self.attack(
            "v3, wrong signatures from one address",
            "Forger",
            count=1,
            total=1,
            sources=1,
            amount=amount,
            seconds=scaled(30, 300),
        )
        self.assertEqual(fates["error auth_failed"] + fates["error rate_limited"], amount)
        self.assertGreaterEqual(fates["error auth_failed"], 50)
        self.assertLess(fates["error auth_failed"], amount / 2)
        self.stop_relay()

    def test_registrations(self) -> None:
        """Of a flood of accounts from one address only as many are made as may be in the time."""
        self.start_relay(registrations_a_minute=60)
        total = scaled(150, 2_000)
        fates = self.attack(
            "v3, registrations from one address",
            "Registrar",
            count=16,
            total=total,
            sources=1,
            seconds=scaled(30, 300),
        )
        self.assertEqual(fates["answered 2702"] + fates["error rate_limited"], total)
        self.assertGreaterEqual(fates["answered 2702"], 60)
        self.assertLess(fates["answered 2702"], total)
        self.stop_relay()


class AccountTests(V3AbuseTestCase):
    """Those who have an account, and misuse it."""

    def save(self, count: int, amount: int, size: int) -> None:
        """Let mail wait for so many of them: how much for each, and of how many bytes."""
        plan = {"count": 8, "total": count, "amount": amount, "size": size, "seconds": 900}
        fates, _ = self.run_attackers("Saver", plan)
        self.assertEqual(fates["answered 2706"], count * amount)

    def test_deaf(self) -> None:
        """Those who let much be pushed with the largest window, or are pushed what they send without
        end, and read nothing, are cut off, and the others are pushed their mail meanwhile."""
        self.start_relay(**scaled({"progress_deadline": 1, "crowded_deadline": 1}, {}))
        crowd = scaled(40, 500)
        self.save(crowd, scaled(1, 4), SEALED)
        kinds = ("Deaf", "DeafPipeliner")
        for some, count in scaled([(kinds, crowd)], [(kinds[:1], crowd), (kinds[1:], 100)]):
            fates = self.attack(
                f"v3, nothing read: {', '.join(some)}",
                ",".join(some),
                count=count,
                total=count,
                sources=count,
                seconds=scaled(30, 900),
            )
            self.assertEqual(fates["reset"] + fates["closed"], count)
        self.stop_relay()

    def test_kept(self) -> None:
        """Those who take all that one may, and never acknowledge any, are not remembered with more
        than a few bytes for each message."""
        self.start_relay()
        count, amount = scaled(4, 200), 1_024
        self.save(count, amount, 1)
        fates = self.attack(
            "v3, nothing acknowledged",
            "Keeper",
            count=count,
            total=count,
            sources=count,
            amount=amount,
            patience=scaled(1, 30),
            seconds=scaled(30, 900),
        )
        self.assertEqual(fates["answered 2720"], count * amount)
        self.assertEqual(fates["done"], count)
        self.stop_relay()

    def test_rubbish(self) -> None:
        """Those who acknowledge what was never there, as much as a request can hold, or subscribe
        without end, are answered, and the others meanwhile."""
        self.start_relay()
        kinds = ("Rubbish", "Subscriber")
        each = scaled(3, 50)
        amounts = scaled((50, 50), (1_000, 5_000))
        for some in scaled([kinds], [(kind,) for kind in kinds]):
            fates = self.attack(
                f"v3, rubbish: {', '.join(some)}",
                ",".join(some),
                count=len(some) * each,
                total=len(some) * each,
                sources=len(some) * each,
                amount=amounts[kinds.index(some[0])],
                seconds=scaled(30, 900),
            )
            self.assertEqual(fates["done"], len(some) * each)
            for kind, amount in zip(kinds, amounts, strict=True):
                if kind in some:
                    self.assertGreaterEqual(fates[ANSWERS[kind]], each * amount)
        self.stop_relay()

    def test_claims(self) -> None:
        """Those who claim the prekeys of one account without end get a few a minute."""
        self.start_relay()
        count, amount = scaled(3, 100), scaled(40, 400)
        fates = self.attack(
            "v3, claims",
            "Claimer",
            count=count,
            total=count,
            sources=count,
            amount=amount,
            seconds=scaled(30, 300),
        )
        self.assertEqual(fates["answered 2705"] + fates["error rate_limited"], count * amount)
        self.assertGreaterEqual(fates["answered 2705"], count * 10)
        self.assertLess(fates["answered 2705"], count * amount / 2)
        self.stop_relay()

    def test_full_mailbox(self) -> None:
        """Whoever sends to a full mailbox is refused each time; what is there is pushed, and when it
        is acknowledged there is room again."""
        quota = scaled(500, 20_000)
        self.start_relay(mailbox_messages=quota)
        victim = Sealed(self.v3_port, Person(VICTIM))
        victim.log_in(register=True)
        self.mallory = victim.person.account.raw
        count, amount = 8, scaled(100, 5_000)
        fates = self.attack(
            "v3, a full mailbox",
            "Filler",
            count=count,
            total=count,
            sources=count,
            amount=amount,
            seconds=scaled(30, 300),
        )
        self.assertEqual(fates["answered 2706"], quota)
        self.assertEqual(fates["error mailbox_full"], count * amount - quota)
        victim.ask(v3.Subscribe(100, 1 << 20))
        for _ in range(quota // 100):
            taken = [victim.take().delivery.sequence for _ in range(100)]
            victim.ask(v3.Acknowledge(tuple(taken)))
        victim.ask(envelope(victim.person.account, b"sealed"))
        self.assertEqual(victim.take().delivery.sealed, b"sealed")
        victim.close()
        self.stop_relay()

    def test_greed(self) -> None:
        """Those who send without end, and read, do not keep others from being answered."""
        self.start_relay()
        fates = self.attack("v3, pipelining", "Greedy", count=scaled(8, 100), seconds=scaled(1, 30))
        self.assertGreater(fates["answered 2706"], 0)
        self.stop_relay()
