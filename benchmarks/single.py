"""The relay with one transaction a request: what group commit is measured against.

``python -m benchmarks.single PORT DATABASE``. It is the relay, but for the size of its batches.
"""

from __future__ import annotations

import sys

from benchmarks.machine import use_epoll


def main(port: str, database: str) -> None:
    """Serve until a signal comes."""
    use_epoll()
    from twisted.internet import reactor

    from messageu.store import _transactor
    from messageu.tap import Options, makeService

    if _transactor.BATCH_OPERATIONS <= 1:
        raise SystemExit("single: batches have another size by now")
    _transactor.BATCH_OPERATIONS = 1  # type: ignore[misc] # final for everybody else
    options = Options()
    options.parseOptions(["-e", f"tcp:{port}:interface=127.0.0.1", "-d", database])
    service = makeService(options, reactor)
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
