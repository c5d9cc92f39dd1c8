"""A relay in a process of its own, an honest client, and whoever is let loose on them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from tests import torture
from tests.processes.children import ProcessTestCase, Relay
from tests.sockets.client import PATIENCE, fetch, message, messages_in, wait_until

from .honest import HonestClient, percentile

ROOT: Final = Path(__file__).parents[2]

MEMORY: Final = 256
"""MiB that a relay may have had at the most."""

ROUNDS_IN_PEACE: Final = torture.scaled(200, 5_000)
ROUNDS_UNDER_ATTACK: Final = 5

PATIENCE_AFTERWARDS: Final = PATIENCE + torture.scaled(0, 60)
"""Seconds after which the relay must have let go of whoever is gone: at full size the deadlines are
those of every relay."""


class AbuseTestCase(ProcessTestCase):
    """Tests of one relay under attack.

    :cvar swarm: the module that attacks.
    :cvar most: MiB that the relay may have had at the most.
    :ivar relay: the relay.
    :ivar honest: its honest client.
    :ivar mallory: the id of a client that the attackers have registered.
    """

    swarm: ClassVar[str] = "tests.abuse.swarm"
    most: ClassVar[int] = MEMORY
    rounds_in_peace: ClassVar[int] = ROUNDS_IN_PEACE

    def start_relay(self, **limits: float) -> None:
        """Start a relay which has these limits, and the defaults otherwise; let them register."""
        options = [f"--limit={name}={value}" for name, value in limits.items()]
        self.relay = self.start("-e", "tcp:0:interface=127.0.0.1:backlog=1024", *options)
        client = self.relay.dial()
        self.mallory = client.register(b"mallory")
        client.close()
        self.honest = HonestClient(self.relay.ports[0])
        self.addCleanup(self.honest.close)

    def attack(self, fault: str, behaviour: str, **plan: Any) -> Mapping[str, int]:
        """Let them loose while the honest client goes on; what has become of them.

        Whatever they do: the honest client is answered each time and loses nothing, the relay does
        not grow, lets go of them, and serves whoever comes then.
        """
        for _ in range(self.rounds_in_peace):
            self.honest.send_and_fetch()
        in_peace = self.honest.take_latencies()
        descriptors = self.descriptors()
        fates, rounds = self.run_attackers(behaviour, {"client_id": self.mallory.hex(), **plan})
        under_attack = self.honest.take_latencies()
        wait_until(
            lambda: self.descriptors() <= descriptors,
            "the relay has let go of them",
            PATIENCE_AFTERWARDS,
        )
        self.check_service()
        self.honest.fetch_rest()
        peace, attacked = percentile(in_peace, 0.99), percentile(under_attack, 0.99)
        torture.report(
            fault,
            runs=fates["begun"],
            lost=self.honest.lost,
            p99_peace_ms=round(peace * 1000, 2),
            p99_attack_ms=round(attacked * 1000, 2),
            ratio=round(attacked / peace, 1),
            longest_ms=round(under_attack[-1] * 1000, 2),
            rounds=rounds,
            memory_mib=self.memory(),
            fates=fates,
        )
        self.assertEqual(self.honest.refused, 0)
        self.assertEqual(self.honest.lost, 0)
        self.assertEqual(self.honest.invented, 0)
        self.assertGreaterEqual(rounds, ROUNDS_UNDER_ATTACK)
        self.assertLess(self.memory(), self.most)
        return fates

    def run_attackers(self, behaviour: str, plan: Mapping[str, object]) -> tuple[Counter[str], int]:
        """The honest client goes on until they have ended: their fates, and its rounds."""
        before = self.honest.rounds
        command = ["-m", self.swarm, str(self.attacked_port), behaviour, json.dumps(plan)]
        with subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        ) as attackers:
            self.addCleanup(attackers.kill)
            while attackers.poll() is None:
                self.honest.send_and_fetch()
            output, _ = attackers.communicate()
        self.assertEqual(attackers.returncode, 0)
        return Counter(json.loads(output)), self.honest.rounds - before

    @property
    def attacked_port(self) -> int:
        """Where the attackers go."""
        return self.relay.ports[0]

    def check_service(self) -> None:
        """Somebody new is served."""
        client = self.relay.dial()
        late = client.register(b"late")
        self.assertEqual(client.ask(message(late, late, b"sealed")).code, 2103)
        (waiting,) = messages_in(client.ask(fetch(late)))
        self.assertEqual(waiting.content, b"sealed")
        client.close()

    def stop_relay(self) -> str:
        """Stop it, which goes well; its log."""
        self.assertEqual(self.relay.stop(), -signal.SIGTERM, self.relay.log)
        self.assertNotIn("Traceback", self.relay.log)
        return self.relay.log

    def descriptors(self) -> int:
        """How many the relay has open."""
        return len(list(Path(f"/proc/{self.relay.pid}/fd").iterdir()))

    def memory(self) -> int:
        """The most memory that the relay has had, in MiB."""
        return peak_memory(self.relay)


def peak_memory(relay: Relay) -> int:
    """The most memory that a relay has had, in MiB."""
    status = Path(f"/proc/{relay.pid}/status").read_text("ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) >> 10
