"""What thousands of connections of v3 hold of a relay's memory, seen from outside."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

from attrs import frozen

from tests.torture import scaled

from .relay import ROOT
from .relay_v3 import V3AbuseTestCase

CROWD: Final = scaled(80, 3_980)
"""At full size nearly as many connections as there may be."""

EACH: Final = 128
"""KiB that each of them may add, and what it holds of what all may hold together."""

BESIDE: Final = 40
"""MiB that the relay may need for what it does meanwhile."""


@frozen
class Mix:
    """What connections do, in turn.

    :ivar mail: what waits for each of them before: how many messages, and of how many bytes.
    """

    behaviours: str
    mail: tuple[int, int] = (0, 0)


ALL: Final = Mix("HeldHello,HalfFrame,DeafAndHalf,KeeperAndHalf", (100, 1_000))

MIXES: Final = (
    Mix("Silent"),
    Mix("HeldHello"),
    Mix("Mute"),
    Mix("HalfFrame"),
    Mix("DeafAndHalf", (100, 1_000)),
    Mix("KeeperAndHalf", (100, 1_000)),
    Mix("Deaf", (1, 300_000)),
    ALL,
)


class MemoryTests(V3AbuseTestCase):
    """A relay in a process of its own, with the defaults but for the deadlines, which are long."""

    def start_patient_relay(self) -> None:
        """A new relay that waits for everybody for longer than the test takes."""
        self.take_folder()
        deadlines = ("handshake", "authentication", "progress", "crowded", "frame")
        self.start_relay(**{f"{name}_deadline": 3_600 for name in deadlines})

    def save(self, mix: Mix) -> None:
        """Let the mail wait that there is to be."""
        amount, size = mix.mail
        if amount:
            plan = {"count": 16, "total": CROWD, "amount": amount, "size": size, "seconds": 1_800}
            fates, _ = self.run_attackers("Saver", plan)
            self.assertEqual(fates["answered 2706"], CROWD * amount)

    def rage(self, mix: Mix, fault: str) -> None:
        """One of the mixes."""
        self.save(mix)
        before = self.memory()
        fates = self.attack(
            fault,
            mix.behaviours,
            count=CROWD,
            total=CROWD,
            sources=CROWD,
            amount=mix.mail[0],
            seconds=scaled(2, 60),
        )
        self.assertEqual(fates["left"], CROWD)
        self.assertLess(self.memory() - before, BESIDE + CROWD * EACH / 1_024)

    def test_full_house(self) -> None:
        """Whatever part of something each of many connections holds, and whether it reads or not, the
        relay stays below its limit."""
        for mix in scaled(MIXES[3:4], MIXES):
            self.start_patient_relay()
            self.rage(mix, f"v3, {CROWD} connections: {mix.behaviours}")
            self.stop_relay()

    def test_beside_v2(self) -> None:
        """The same when all other places are those of connections of v2 that read nothing."""
        self.start_patient_relay()
        client = self.relay.dial()
        mallory = client.register(b"mallory")
        client.close()
        plan = {
            "count": scaled(50, 5_900),
            "client_id": mallory.hex(),
            "seconds": scaled(2, 60),
        }
        command = ["-m", "tests.abuse.swarm", str(self.relay.ports[0]), "Pipeliner"]
        with subprocess.Popen(
            [sys.executable, *command, json.dumps(plan)], cwd=ROOT, stdout=subprocess.DEVNULL
        ) as others:
            self.addCleanup(others.kill)
            self.rage(ALL, f"v3, {CROWD} connections beside {plan['count']} of v2")
            self.assertEqual(others.wait(), 0)
        self.stop_relay()
