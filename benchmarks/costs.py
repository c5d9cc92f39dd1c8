"""What a message costs PostgreSQL and the store in front of it: bytes of log, bytes on the disk, and
processor time of both.

``python -m benchmarks.costs`` prints a table. Batches are as large as ``--batch`` says; everything is
done by one connection, one batch after the other, so that nothing waits but for the disk.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from benchmarks.processes import TICKS
from messageu.model import ClientId, Envelope, PublicKey, UserName
from messageu.model.v3 import EnvelopeId, Handle, IdentityKeys, SealedEnvelope
from messageu.store.postgres import LanePool, PostgresAddress, PostgresStore
from messageu.testing.postgres import PostgresServer
from messageu.testing.threadpool import threadless

TEXT, SEALED = 300, 1_648
"""Bytes of a message of v2 as others measure it, and of v3's shortest text when it is sealed."""


@define
class Cost:
    """What some operations cost, each.

    :ivar log: bytes of write-ahead log, ``disk`` bytes that tables and indexes have grown by.
    :ivar server: microseconds of processor time in the server, ``store`` in this process.
    """

    title: str
    count: int
    log: float = 0
    disk: float = 0
    server: float = 0
    store: float = 0


@define
class Workshop:
    """A store without threads on a server of its own, and what the operations have cost so far."""

    server: PostgresServer
    clock: Clock = field(factory=Clock)
    costs: list[Cost] = field(factory=list)
    store: PostgresStore = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.store = PostgresStore(
            PostgresAddress.parse(self.server.address),
            self.clock,
            now=time.time,
            connections=1,
            new_pool=lambda *args, **options: threadless(LanePool, self.clock, *args, **options),
            in_thread=lambda *_: Deferred(),
        )
        self.store.open()

    def do(self, deferreds: Sequence[Deferred[Any]]) -> list[Any]:
        """What becomes of operations that are asked for together."""
        while not all(each.called for each in deferreds):
            self.clock.advance(0)
        results: list[Any] = []
        for each in deferreds:
            each.addCallback(results.append)
        return results

    @contextmanager
    def measured(self, title: str, count: int) -> Iterator[None]:
        """What is done meanwhile are so many operations of this kind."""
        cost = Cost(title, count)
        before = self._figures()
        yield
        after = self._figures()
        cost.log, cost.disk, cost.server, cost.store = (
            (late - early) / count for early, late in zip(before, after, strict=True)
        )
        self.costs.append(cost)

    def _figures(self) -> tuple[float, float, float, float]:
        ((log, disk),) = self.server.execute(
            "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'), (SELECT sum("
            "pg_total_relation_size(c.oid)) FROM pg_class AS c JOIN pg_namespace AS n"
            " ON n.oid = relnamespace WHERE nspname = 'public' AND relkind = 'r')"
        )
        return float(log), float(disk), 1e6 * self._server_seconds(), 1e6 * time.process_time()

    def _server_seconds(self) -> float:
        # The server runs as somebody else; its backends are those that have our address.
        pids = [pid for (pid,) in self.server.execute("SELECT pid FROM pg_stat_activity")]
        return sum(map(_ticks_of, pids)) / TICKS


def _ticks_of(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except OSError:  # it has ended
        return 0
    return int(fields[11]) + int(fields[12])


def in_batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Items, so many at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def measure_v2(shop: Workshop, count: int, batch: int, mailboxes: int) -> None:
    """Clients, their messages, and the fetching of these."""
    store = shop.store
    key = PublicKey(bytes(160))
    clients: list[ClientId] = []
    with shop.measured("v2: a client registers", mailboxes):
        for some in in_batches(range(mailboxes), batch):
            asked = [store.register(UserName(b"client%d" % number), key) for number in some]
            clients += shop.do(asked)
    content = os.urandom(TEXT)
    envelopes = [
        Envelope(clients[number % 7], clients[number % mailboxes], 3, content)
        for number in range(count)
    ]
    with shop.measured(f"v2: a message of {TEXT} bytes is stored", count):
        for some in in_batches(envelopes, batch):
            shop.do([store.put(some)])
    leases: list[Any] = []
    with shop.measured("v2: it is fetched", count):
        for some in in_batches(clients, batch):
            leases += shop.do([store.lease(each, 16_384, 2**25, 2**16) for each in some])
    with shop.measured("v2: it is settled", count):
        for some in in_batches(leases, batch):
            shop.do([store.settle(each) for each in some])
    with shop.measured("v2: an empty mailbox is fetched", mailboxes):
        for some in in_batches(clients, batch):
            shop.do([store.lease(each, 16_384, 2**25, 2**16) for each in some])


def measure_v3(shop: Workshop, count: int, batch: int, mailboxes: int) -> None:
    """Accounts, their mail, and its acknowledgement."""
    accounts = shop.store.accounts
    owners = [IdentityKeys(os.urandom(32), os.urandom(32)) for _ in range(mailboxes)]
    with shop.measured("v3: an account registers", mailboxes):
        for some in in_batches(list(enumerate(owners)), batch):
            shop.do([accounts.register(keys, 1, Handle(f"user{n}"), None) for n, keys in some])
    sealed = os.urandom(SEALED)
    envelopes = [
        SealedEnvelope(
            owners[number % mailboxes].identity.account_id, EnvelopeId(os.urandom(16)), 1, sealed
        )
        for number in range(count)
    ]
    with shop.measured(f"v3: an envelope of {SEALED} bytes is stored", count):
        for some in in_batches(envelopes, batch):
            shop.do([accounts.put(some)])
    ((memory,),) = shop.server.execute("SELECT pg_total_relation_size('account_tombstone')")
    shop.costs.append(Cost("v3: of that, its memory", count, disk=memory / count))
    waiting: list[Any] = []
    with shop.measured("v3: it is read, to be pushed", count):
        for some in in_batches(owners, batch):
            waiting += shop.do(
                [accounts.waiting(each.identity.account_id, 0, 256, 2**20) for each in some]
            )
    with shop.measured("v3: it is acknowledged", count):
        for some in in_batches(list(zip(owners, waiting, strict=True)), batch):
            shop.do(
                [
                    accounts.acknowledge(
                        keys.identity.account_id, [each.sequence for each in deliveries]
                    )
                    for keys, deliveries in some
                ]
            )


def main(arguments: list[str]) -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=40_000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--mailboxes", type=int, default=2_000)
    options = parser.parse_args(arguments)
    measures: Sequence[Callable[[Workshop, int, int, int], None]] = (measure_v2, measure_v3)
    print("| | log, bytes | disk, bytes | server, µs | store, µs |")
    print("|---|---|---|---|---|")
    for each in measures:
        server = PostgresServer.made("shared_buffers=256MB", "max_wal_size=8GB")
        try:
            shop = Workshop(server)
            # What a page costs that is written for the first time since a checkpoint depends on
            # when that was: here, right before.
            server.execute("CHECKPOINT")
            each(shop, options.count, options.batch, options.mailboxes)
            shop.do([shop.store.close()])
        finally:
            server.remove()
        for cost in shop.costs:
            print(
                f"| {cost.title} | {cost.log:,.0f} | {cost.disk:,.0f} | {cost.server:,.1f} |"
                f" {cost.store:,.1f} |"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
