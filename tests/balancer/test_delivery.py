"""When mail of v2 has arrived, behind HAProxy as in the example: the table of docs/promises.md."""

from __future__ import annotations

from attrs import evolve
from twisted.internet import reactor

from messageu.server import Balancing, Door, Health, read_networks
from messageu.store import MemoryStore
from tests.sockets import test_promises
from tests.sockets.behaviour import BEHAVIOURS, Behaviour, Fetcher
from tests.sockets.client import wait_until
from tests.sockets.relay import blocking, free_endpoint

from .haproxy import SKIP, HAProxy, Place

MEDIUM = [bytes(1 << 19)]
"""Mail for which a client's kernel has no room that holds what it may, and a balancer's has."""


def cut_off(fetcher: Fetcher) -> None:
    """Ends its half when the answer has begun to come, and is cut off later."""
    client = fetcher.ask(receive_buffer=4096)
    wait_until(client.unread, "the answer has begun to come")
    client.half_close()
    if fetcher.fits:
        fetcher.wait_until_alone()
    client.reset()


class BehindHAProxyTestCase(test_promises.MeasuringTestCase):
    """Tests that look what becomes of mail by way of HAProxy.

    :ivar goodbyes: whether the end of a half counts.
    """

    skip = SKIP
    goodbyes = False

    def setUp(self) -> None:
        self._haproxies: list[HAProxy] = []
        super().setUp()

    def start_relay(self, **settings: float) -> int:
        """Start a relay, and HAProxy in front of it; the port of that."""
        health, endpoint = free_endpoint()
        store = MemoryStore(now=reactor.seconds)
        store.open()
        balancing = Balancing(
            networks=read_networks("127.0.0.1"),
            goodbyes=self.goodbyes,
            health=Health(Door("health", endpoint), store),
        )
        place = Place(self.start_balanced(balancing, **settings), Place.free().v3, health)
        haproxy = HAProxy((place, Place.free()))
        self.addCleanup(haproxy.stop)
        self._haproxies.append(haproxy)
        return haproxy.fronts["v2"]

    def wait_for_haproxy(self) -> None:
        """Until it knows who is there. This waits in a thread: the relay has to answer it."""
        for haproxy in self._haproxies:
            haproxy.wait_for("UP", "relay1")
            haproxy.wait_for("DOWN", "relay2")


class CarefulTests(BehindHAProxyTestCase):
    """A relay that is told nothing else."""

    @blocking
    def test_only_requests_count(self) -> None:
        """Mail is gone when its client asks for something on the same connection after it. In each
        other way it waits again."""
        self.wait_for_haproxy()
        gone = [
            behaviour.text
            for number, behaviour in enumerate(BEHAVIOURS)
            if self.measure(number, behaviour, [b"s" * 300]) == "gone"
        ]
        self.assertEqual(
            gone,
            [
                "reads all of it and asks again on the same connection",
                "reads all of it and asks for something else",
            ],
        )

    @blocking
    def test_cut_off(self) -> None:
        """Nothing is lost to a client that ends its half and is cut off while HAProxy still has
        mail for it."""
        self.wait_for_haproxy()
        self.assertEqual(self.measure(0, Behaviour("", cut_off), MEDIUM), "waits again")


class TrustingTests(BehindHAProxyTestCase):
    """A relay for which the end of a half counts, behind HAProxy as without it."""

    goodbyes = True

    @blocking
    def test_table(self) -> None:
        """Clients that behave in the ways of the table find what it says: HAProxy passes on
        resets, and gives up later than the relay."""
        self.wait_for_haproxy()
        self.assertEqual("".join(self.rows()), test_promises.told())

    @blocking
    def test_cut_off(self) -> None:
        """But who ends its half and is cut off, while HAProxy still has mail for it, loses that:
        its kernel has acknowledged the mail, and it says nothing of what comes later."""
        self.wait_for_haproxy()
        self.assertEqual(self.measure(0, Behaviour("", cut_off), MEDIUM), "gone")


class DirectTests(test_promises.MeasuringTestCase):
    """A relay without anything in front."""

    @blocking
    def test_cut_off(self) -> None:
        """Who is cut off so loses nothing."""
        behaviour = Behaviour("", lambda fetcher: cut_off(evolve(fetcher, fits=False)))
        self.assertEqual(self.measure(0, behaviour, MEDIUM), "waits again")
