"""Tests with a cluster: relays on a pair of servers, clients who work all the time, and the checkers."""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from twisted.trial.unittest import SkipTest

from messageu.testing.postgres import NoServerError
from tests.processes.children import ProcessTestCase, Relay
from tests.sockets.client import wait_until
from tests.torture import report

from .gate import Gate
from .ledger import Ledger
from .progress import Progress
from .servers import Pair
from .talk import Talk
from .users import User

RELAYS: Final = 3
RECOVERY: Final = 120.0
"""Seconds in which everybody is served again after a fault: far above all that a relay waits for."""

CALM: Final = 1.0
"""Seconds, about, between two rounds."""

STEADY: Final = 12.0
"""The same, where clients of v3 lose their connections: one that lasted less counts as failed to them,
and they wait longer each time."""


class ClusterTestCase(ProcessTestCase):
    """Tests with a cluster.

    :cvar user_names: clients of v2.
    :cvar talker_names: clients of v3, one of whom is away during a fault.
    :cvar patience: seconds in which all that was said has come to its end.
    :ivar random: decides what is decided by chance. ``SEED=n`` sets it.
    :ivar pair: the servers.
    :ivar relays: all of them serve.
    """

    user_names: Sequence[bytes] = (b"anna", b"bern", b"cora", b"dirk")
    talker_names: Sequence[str] = ("emma", "fred", "gina", "hugo")
    patience = 120.0

    def setUp(self) -> None:
        super().setUp()
        seed = int(os.environ.get("SEED", random.SystemRandom().randrange(10**6)))
        print(f"SEED={seed}", flush=True)  # noqa: T201 - so that it can be done again
        self.random = random.Random(seed)
        self.pair = self.make_pair()
        self.relays: list[Relay] = []
        self._places: list[tuple[str, ...]] = []
        for _ in range(RELAYS):
            self.relays.append(self.start_relay("tcp:0", "tcp:0"))
        self.front = Gate(*(_v3_port(relay) for relay in self.relays))
        self.addCleanup(self.front.close)
        self._gaps: dict[str, list[float]] = {"v2": [], "v3": []}
        self._rounds = 0
        self._false: list[str] = []

    def make_pair(self) -> Pair:
        """The servers.

        :raises SkipTest: when there can be none.
        """
        try:
            pair = Pair()
        except NoServerError as error:
            raise SkipTest(str(error)) from None
        self.addCleanup(pair.close)
        return pair

    def relay_options(self) -> Sequence[str]:
        """Of each relay, beside where it listens."""
        return ("--database", self.pair.address)

    def start_relay(self, v2: str, v3: str) -> Relay:
        """A relay that listens in these places."""
        listening = f"{v2}:interface=127.0.0.1", f"{v3}:interface=127.0.0.1"
        return self.start(
            *("--endpoint", listening[0], "--v3", listening[1]),
            *("--v3-certificate", str(self.folder / "tls.pem"), "--no-control"),
            *self.relay_options(),
        )

    # Clients.

    def begin(self, *, standby: bool = True) -> None:
        """Everybody begins to work, when there is a standby if there should be."""
        if standby:
            self.pair.renew_standby()
        self.ledger, self.progress = Ledger(), Progress()
        address = (
            self.relays[0]
            .v3_addresses[0]
            .replace(f":{_v3_port(self.relays[0])}#", f":{self.front.port}#")
        )
        self.talk = Talk(self.folder / "talk", address, self.talker_names, self.progress)
        self.addCleanup(self.talk.close)
        ports = [relay.ports[0] for relay in self.relays]
        self.users = [
            User(name, ports, self.ledger, self.progress, self.random.randrange(10**6))
            for name in self.user_names
        ]
        for user in self.users:
            user.others = [other for other in self.users if other is not user]
        self.talk.wait_until_begun()
        for user in self.users:
            user.start()
        self._wait_until_served(time.monotonic())

    def _wait_until_served(self, since: float) -> None:
        def is_served() -> bool:
            self.talk.look()
            for user in self.users:
                if user.failure is not None:
                    raise user.failure
            return self.progress.all_since((*self.user_names, *self.talker_names), since)

        wait_until(is_served, "everybody is served again", RECOVERY)

    def settle(self, seconds: float) -> None:
        """Let time go by."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
            self.talk.look()

    # Faults.

    @contextmanager
    def somebody_away(self) -> Iterator[str]:
        """One client of v3, by name, is not connected meanwhile, and has mail that waits: only the
        store has it. Whoever is connected has his within milliseconds."""
        name = self.random.choice(self.talker_names)
        self.talk.leave(name)
        yield name
        self.talk.come_back(name)

    def round(self, fault: Callable[[], Callable[[], object] | None], calm: float = CALM) -> None:
        """One fault at a random moment, while somebody is away, until everybody is served again.
        What it answers is done then, to have everything as it was."""
        self.settle(self.random.uniform(0.5, 1.5) * calm)
        with self.somebody_away() as away:
            began = time.monotonic()
            mend = fault()
        self._wait_until_served(time.monotonic())
        ended = time.monotonic()
        gaps = self.progress.gaps(began, ended)
        there = [name for name in self.talker_names if name != away]
        for version, names in (("v2", self.user_names), ("v3", there)):
            self._gaps[version].append(max(gaps[name] for name in names))
        self._rounds += 1
        if mend is not None:
            mend()
            self._wait_until_served(time.monotonic())

    def kill_relay(self) -> Callable[[], object]:
        """``kill -9`` of one."""
        number = self.random.randrange(RELAYS)
        self.relays[number].stop(signal.SIGKILL)
        return lambda: self.restart_relay(number)

    def restart_relay(self, number: int) -> None:
        """Start one that was killed, where it was."""
        relay = self.relays[number]
        places = f"tcp:{relay.ports[0]}", f"tcp:{_v3_port(relay)}"
        self.relays[number] = self.start_relay(*places)

    def kill_primary(self) -> Callable[[], object]:
        """``kill -9`` of it, and the standby takes its place; then there is a new standby."""
        self.pair.kill_primary()
        self.pair.promote()
        return self.pair.renew_standby

    def restart_primary(self) -> None:
        """``kill -9`` of it, and it is started again."""
        self.pair.kill_primary()
        self.pair.restart_primary()

    def replace_hanging_primary(self) -> Callable[[], object]:
        """It hangs, the standby takes its place, and it wakes up: there are two, until one is killed."""
        old = self.pair.primary
        self.pair.hang(old)
        self.pair.promote()
        self.settle(self.random.uniform(0, 16))
        self.pair.wake(old)
        self.settle(self.random.uniform(0, 10))
        self.pair.kill_standby()
        return self.pair.renew_standby

    def cut(self) -> None:
        """All connections between relays and servers are reset, and none can be made for a while."""
        for gate in self.pair.gates:
            gate.cut()
        self.settle(self.random.choice((0, 0.2, 1, 3)))
        for gate in self.pair.gates:
            gate.heal()

    def disconnect(self) -> None:
        """The server ends all of them, some times in a row."""
        for _ in range(self.random.randint(1, 5)):
            self.pair.disconnect()
            self.settle(self.random.uniform(0, 0.3))

    def hang(self) -> None:
        """The server says nothing for a while."""
        place = self.pair.primary
        self.pair.hang(place)
        self.settle(self.random.choice((1, 4, 9, 16)))
        self.pair.wake(place)

    def hold(self) -> None:
        """Nothing passes between relays and servers for a while."""
        for gate in self.pair.gates:
            gate.hold()
        self.settle(self.random.choice((1, 4, 9, 16)))
        for gate in self.pair.gates:
            gate.heal()

    def lose_standby(self, seconds: float | None = None) -> None:
        """There is no standby for a while: nothing may be acknowledged."""
        self.pair.kill_standby()
        self.settle_without_acknowledgements(
            self.random.choice((2, 6, 15, 30)) if seconds is None else seconds
        )
        self.pair.start_standby()
        self.pair.wait_until_synchronous()

    def lose_both(self) -> Callable[[], object]:
        """There is no standby for a while, then the primary is killed, and the standby takes its
        place, which does not have what was committed meanwhile."""
        self.pair.kill_standby()
        self.settle_without_acknowledgements(self.random.uniform(9, 14))
        self.pair.kill_primary()
        self.pair.start_standby()
        self.pair.promote()
        return self.pair.renew_standby

    def everything(self) -> Callable[[], object]:
        """Some of these, one right after the other."""
        small = self.kill_relay, self.cut, self.disconnect, self.hang, self.hold
        large = self.kill_primary, self.restart_primary, self.lose_standby, self.lose_both
        faults = [*self.random.sample(small, 2), self.random.choice(large)]
        self.random.shuffle(faults)
        mends = []
        for fault in faults:
            mends.append(fault())
            self.settle(self.random.uniform(0, 1))
        return lambda: [mend() for mend in mends if mend is not None]

    def settle_without_acknowledgements(self, seconds: float) -> None:
        """Let time go by in which nothing that is begun may be acknowledged."""
        moment, began = self.ledger.moment(), time.monotonic()
        self.settle(seconds)
        ended = time.monotonic()
        self._false += [
            f"v2: {sent.content!r}" for sent in self.ledger.acknowledged if sent.begun > moment
        ]
        self.talk.look()
        self._false += [
            f"v3: a text said at {said} and stored at {stored}"
            for said, stored in self.talk.stored
            if began < said and stored < ended
        ]

    # The end.

    def conclude(self, fault: str) -> None:
        """Everybody comes to rest, and what was said, answered and seen must agree."""
        problems = self.find_problems()
        report(
            f"cluster: {fault}",
            rounds=self._rounds,
            v2_acknowledged=len(self.ledger.acknowledged),
            v3_accepted=self.talk.accepted,
            v3_kept=len(self.talk.kept),
            refused=sum(user.refused for user in self.users),
            broken=sum(user.broken for user in self.users),
            v2_longest_wait=round(max(user.longest for user in self.users), 1),
            v3_longest_way=round(max(self.talk.waits), 1),
            v3_median_way=round(statistics.median(self.talk.waits), 3),
            gaps={
                version: {
                    "median": round(statistics.median(gaps), 2),
                    "longest": round(max(gaps), 2),
                }
                for version, gaps in self._gaps.items()
            },
            v2_duplicates=self.duplicates,
            problems=problems,
        )
        self.assertEqual(problems, {})

    def find_problems(self) -> dict[str, object]:
        """What is wrong, when everybody has come to rest."""
        for user in self.users:
            user.stop()
        unsettled = self._rest()
        mailboxes = {user.id: user.look() for user in self.users}
        findings = self.ledger.check_all(mailboxes)
        self.duplicates = self.ledger.duplicates(mailboxes)
        failures = [repr(user.failure) for user in self.users if user.failure is not None]
        anybody = self.users[0]
        found = {
            **findings.wrong,
            "unknown": [
                client
                for client, key in self.ledger.clients.items()
                if not anybody.is_known(client, key)
            ],
            "falsely acknowledged": self._false,
            "v3": [*self.talk.violations, *unsettled],
            "failures": failures,
        }
        return {name: wrong for name, wrong in found.items() if wrong}

    def _rest(self) -> Sequence[str]:
        try:
            self.talk.rest(self.patience)
        except AssertionError as error:
            return [str(error)]
        return []


def _v3_port(relay: Relay) -> int:
    return int(relay.v3_addresses[0].partition("#")[0].rpartition(":")[2])
