"""The relay with one transaction a request: what group commit is measured against.

``python -m benchmarks.single PORT DATABASE``. It is the relay, but for the size of its batches: one
operation a transaction, and one request of a connection an operation.
"""

from __future__ import annotations

import sys
from typing import cast

from attrs import evolve

from benchmarks.machine import use_epoll


def main(port: str, database: str) -> None:
    """Serve until a signal comes."""
    use_epoll()
    from twisted.internet import reactor

    from messageu.server import RelayService, _intake
    from messageu.store import _transactor
    from messageu.tap import Options, makeService

    if _transactor.BATCH_OPERATIONS <= 1 or _intake.PUT_MESSAGES <= 1:
        raise SystemExit("single: batches have another size by now")
    _transactor.BATCH_OPERATIONS = 1  # type: ignore[misc] # final for everybody else
    _intake.PUT_MESSAGES = 1  # type: ignore[misc] # nor are sends put together
    options = Options()
    options.parseOptions(["-e", f"tcp:{port}:interface=127.0.0.1", "-d", database])
    service = cast(RelayService, makeService(options, reactor))
    limits = service.limits
    limits.settings = evolve(limits.settings, read_ahead=1)
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
