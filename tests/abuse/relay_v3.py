"""The same for v3: a relay that serves both, two honest people and one, and attackers over TLS."""

from __future__ import annotations

import re
from typing import Final

from messageu.wire import v3
from tests import torture
from tests.processes.children import BIN, Relay

from .honest_v3 import LATE, WINDOW, Everybody, Sealed
from .people import Person, envelope
from .relay import AbuseTestCase

MEMORY: Final = 512
"""MiB that a relay may have had at the most."""

LISTEN: Final = "tcp:0:interface=127.0.0.1:backlog=4096"


def v3_port(relay: Relay) -> int:
    """Where a relay serves v3."""
    (port,) = re.findall(r":(\d+)#", relay.v3_addresses[0])
    return int(port)


class V3AbuseTestCase(AbuseTestCase):
    """Tests of one relay of v3 under attack.

    :ivar v3_port: where it serves v3.
    """

    swarm = "tests.abuse.swarm_v3"
    most = MEMORY
    rounds_in_peace = torture.scaled(20, 2_000)

    def start_relay(self, **limits: float) -> None:
        """Start a relay which has these limits, and the defaults otherwise."""
        options = [f"--limit={name}={value}" for name, value in limits.items()]
        self.relay = self.start("-e", LISTEN, "--v3", LISTEN, *options)
        self.v3_port = v3_port(self.relay)
        self.honest = Everybody(self.relay.ports[0], self.v3_port)
        self.addCleanup(self.honest.close)
        self.mallory = self.honest.v3.bern.account.raw
        self._late = 0

    @property
    def attacked_port(self) -> int:
        """Where the attackers go."""
        return self.v3_port

    def check_service(self) -> None:
        """Somebody new is served, over either."""
        self._late += 1
        client = self.relay.dial()
        client.register(b"late %d" % self._late)
        client.close()
        person = Person(LATE + self._late)
        late = Sealed(self.v3_port, person)
        late.log_in(register=True)
        late.ask(WINDOW)
        late.ask(envelope(person.account, b"sealed"))
        pushed = late.take()
        self.assertEqual(pushed.delivery.sealed, b"sealed")
        late.ask(v3.Acknowledge((pushed.delivery.sequence,)))
        late.close()

    def stop_relay(self) -> str:
        """Stop it when nobody is left whom it would say goodbye to; its log."""
        self.honest.close()
        return super().stop_relay()

    def status(self) -> dict[str, str]:
        """What the operator is shown."""
        done = self.run_to_end([str(BIN / "messageu-admin"), "status"])
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = [line.split(None, 1) for line in done.stdout.splitlines()]
        return {name.rstrip(":"): value for name, value in lines}
