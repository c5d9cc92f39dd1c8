"""The power fails: what a disk can hold then is worked out from the record of a run, a relay opens
it, and what it has is compared with what clients had been told by that moment."""

from __future__ import annotations

import errno
import shutil
import signal
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from messageu.model import MESSAGE_ID_LIMIT, ClientId, PublicKey, Refusal
from messageu.store import SqliteStore, StoreUnusable
from messageu.testing.threadpool import threadless_pool
from tests.sockets.client import Waiting, frame
from tests.torture import report, scaled

from .disk import FOR_EVER, Action, Record
from .history import History
from .power import PageCache, Told
from .relays import OFTEN, CrashTestCase, faults_of, spread
from .workload import Clients

MANY = 1_000_000
NORMAL = f"{OFTEN},synchronous=NORMAL"
SEEDS = range(scaled(2, 4))
POINTS = scaled(12, MANY)
"""Moments of a record at which the power fails."""


@define
class Verdict:
    """What became of what clients had been told.

    :ivar checked: disks that were looked at.
    :ivar counts: how much was lost of each kind, on all of them together.
    """

    checked: int = 0
    counts: Counter[str] = field(factory=Counter)


class PowerLossTests(CrashTestCase):
    """Relays whose disk is recorded."""

    def record(self, pragmas: str = OFTEN, rounds: int = 3) -> list[Record]:
        """What a relay does while its clients work, until it has stopped."""
        self.pragmas = pragmas
        self.new_disk(logs=True)
        relay = self.serve()
        self.clients.begin()
        for number in range(rounds):
            self.clients.run(f"round {number}")
        relay.stop()
        self.assertEqual((self.clients.refused, self.clients.broken), (0, 0))
        return list(self.disk.records())

    def disks(
        self, records: Sequence[Record], moments: Collection[int]
    ) -> Iterator[tuple[Mapping[str, bytes], Told]]:
        """What the disk can hold after some of the records, and what clients had been told: nothing
        of what was not synced, all of it, and for each seed some of it."""
        caches = [PageCache(self.disk.folder)]
        caches += [PageCache(self.disk.folder, Random(seed)) for seed in SEEDS]
        told = Told()
        for moment, each in enumerate(records):
            told.feed(each)
            for cache in caches:
                cache.feed(each)
            if moment in moments:
                for cache in caches:
                    yield cache.on_disk(), told
                yield caches[0].in_memory(), told

    def judge(self, disks: Iterable[tuple[Mapping[str, bytes], Told]]) -> Verdict:
        """Open each disk, and count what clients had been told that is not so."""
        verdict = Verdict()
        # Nothing is asked of this one but to be quick.
        memory = Path("/dev/shm")
        folder = Path(mkdtemp(dir=memory if memory.is_dir() else None))
        self.addCleanup(shutil.rmtree, folder)
        for files, told in disks:
            put_back(folder, files)
            verdict.counts += Counter(look(folder, told, self.history, self.clients))
            verdict.checked += 1
        return verdict

    def report(self, fault: str, records: Sequence[Record], verdict: Verdict) -> None:
        """Keep what was found."""
        report(
            fault,
            records=len(records),
            disks=verdict.checked,
            acknowledged=len(self.history.acknowledged),
            lost=verdict.counts["lost"],
            others={name: number for name, number in verdict.counts.items() if name != "lost"},
        )

    def test_acknowledged_is_kept(self) -> None:
        """Whenever the power fails, and whatever of the unsynced has reached the disk: what was
        acknowledged is there, nothing else is, and the database is whole."""
        records = self.record()
        verdict = self.judge(self.disks(records, moments_of(records, POINTS)))
        self.report("power loss, synchronous=FULL", records, verdict)
        self.assertEqual(verdict.counts, {})

    def test_model_notices_a_loss(self) -> None:
        """With synchronous=NORMAL, which does not sync at a commit, the same finds losses."""
        records = self.record(NORMAL)
        verdict = self.judge(self.disks(records, moments_of(records, POINTS)))
        self.report("power loss, synchronous=NORMAL: must lose", records, verdict)
        self.assertGreater(verdict.counts["lost"], 0)
        self.assertGreater(verdict.counts["missing"], 0)

    def test_first_registration(self) -> None:
        """Whoever has been told to be registered is, though the power fails at once on a new disk:
        the database's name is on the disk, too. So says a relay that is started on it."""
        records = self.record(rounds=0)
        cache, told = PageCache(self.disk.folder), Told()
        for each in records:
            cache.feed(each)
            told.feed(each)
            if told.registered:
                break
        files = cache.on_disk()
        self.new_disk()
        put_back(self.disk.folder, files)
        (anna,) = told.registered
        self.serve()
        client = self.dial()
        self.assertEqual(
            client.ask(frame(602, anna, anna)).payload, anna + b"anna".ljust(160, b"!")
        )
        client.close()

    def test_after_a_failed_sync(self) -> None:
        """When a sync has failed, what was written before it may be in memory and never reach the
        disk. A relay that is killed then, and started again, reads it from there, and yet loses
        nothing when the power fails while it starts, or later."""
        self.new_disk(logs=True)
        relay = self.serve()
        self.clients.begin()
        self.clients.run("before")
        self.disk.arm(1, Action.FAIL, error=errno.EIO, limit=FOR_EVER, syncs_only=True)
        self.clients.send_large("while syncs fail")
        self.assertGreater(self.disk.hits, 0)
        relay.stop(signal.SIGKILL)
        self.disk.mend()
        self.serve()
        self.clients.run("after")
        records = list(self.disk.records())
        (_, start) = (moment for moment, each in enumerate(records) if each.kind == "S")
        served = next(
            moment for moment, each in enumerate(records) if moment > start and each.kind == "A"
        )
        starting = {
            start + moment for moment in moments_of(records[start:served], scaled(24, MANY))
        }
        later = {served + moment for moment in moments_of(records[served:], POINTS)}
        verdict = self.judge(self.disks(records, starting | later))
        self.report("power loss after failed syncs, a kill and a new start", records, verdict)
        self.assertEqual(verdict.counts, {})

    def test_going_on_after_a_failed_sync(self) -> None:
        """A relay that goes on after syncs have failed does not build on what they have left."""
        self.new_disk(logs=True)
        self.serve()
        self.clients.begin()
        for number in range(scaled(2, 10)):
            self.disk.arm(1 + number, Action.FAIL, error=errno.EIO, syncs_only=True)
            self.clients.run(f"while a sync fails {number}")
            self.assertEqual(self.disk.hits, 1)
        records = list(self.disk.records())
        verdict = self.judge(self.disks(records, moments_of(records, POINTS)))
        self.report("power loss after failed syncs, in the same process", records, verdict)
        self.assertEqual(verdict.counts, {})


def moments_of(records: Sequence[Record], wanted: int) -> Collection[int]:
    """Moments at which something had changed, and moments at which something had just been sent:
    so many of each."""
    changed = [moment for moment, each in enumerate(records) if _changes_a_disk(each)]
    sent = [moment for moment, each in enumerate(records) if each.kind == "A"]
    return {
        moments[number - 1]
        for moments in (changed, sent)
        for number in spread(len(moments), wanted)
    }


def _changes_a_disk(record: Record) -> bool:
    # One byte at a time is what gives the index of the log its size, which is only in memory.
    return record.kind in "CFTUR" or (record.kind == "W" and len(record.data) > 1)


def put_back(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder that has these files, but for what does not outlive a process."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        if not name.endswith(("-shm", ".lock")):
            (folder / name).write_bytes(content)


def look(folder: Path, told: Told, history: History, clients: Clients) -> Iterator[str]:
    """What is not as clients have been told, in the words of the history."""
    clock = Clock()
    path = folder / "defensive.db"
    store = SqliteStore(path, clock, now=lambda: 0.0, new_pool=threadless_pool)
    try:
        store.open()
    except StoreUnusable:
        yield "unusable"
        return

    def result_of(asked: Deferred[Any]) -> Any:
        results: list[Any] = []
        asked.addBoth(results.append)
        while not results:
            clock.advance(1)
        return results[0]

    for each in told.registered:
        me = ClientId(each)
        if result_of(store.public_key(me, me)) != PublicKey(history.clients[each]):
            yield "missing"
    mailboxes = {}
    for each in {clients.bern, clients.cora} & told.registered:
        lease = result_of(store.lease(ClientId(each), MANY, MANY**2, MANY**2))
        if isinstance(lease, Refusal):  # who is missing has no mail
            mailboxes[each] = []
            continue
        mailboxes[each] = [
            Waiting(sender, sequence % MESSAGE_ID_LIMIT, kind, content)
            for sequence, sender, kind, _, _, content in lease.first.pieces
        ]
        result_of(store.release(lease))
    findings = history.as_of(told.acknowledged, told.delivered).check(mailboxes)
    for kind, found in findings.wrong.items():
        yield from [kind] * len(found)
    result_of(store.close())
    yield from ["damaged"] * len(faults_of(path))
