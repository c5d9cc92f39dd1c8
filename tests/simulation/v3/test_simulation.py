"""Whatever happens, each text is shown once or reported: many seeds, and what would be noticed."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from unittest import mock

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from messageu.client.v3 import _history as history_of_client
from messageu.client.v3 import _outbox as outbox
from messageu.client.v3 import _transfers as transfers
from messageu.client.v3._file_receiver import FileReceiver
from messageu.store.v3 import _operations as operations
from messageu.store.v3 import _statements as statements
from tests.simulation.history import RelayKilled, RelayStopped
from tests.torture import report, scaled

from . import clients
from .clients import come_to_rest, populate
from .history import (
    Accepted,
    ClientKilled,
    Cut,
    Delivered,
    Left,
    Overtook,
    Reset,
    Restored,
    Shown,
    Undelivered,
    violations,
)
from .world import WorldOfV3

SEEDS = scaled(6, 500)
FIRST = int(os.environ.get("FIRST_SEED", "0"))
ONLY = os.environ.get("SEED")
COUNTED = (
    Accepted,
    Shown,
    Delivered,
    Undelivered,
    ClientKilled,
    RelayKilled,
    RelayStopped,
    Cut,
    Restored,
    Reset,
    Overtook,
)
COMMON = (Accepted, Shown, Delivered, ClientKilled, RelayKilled, Cut)
"""What happens in one world of four, and more often."""

MOMENTS = 400
CAUGHT_WITHIN = 25
"""Seeds within which what is broken on purpose is to be noticed."""
COMMAND = "SEED={seed} .venv/bin/trial tests.simulation.v3"


def run(seed):
    """What happened in the world of a seed; and the state in which its generator was left."""
    with WorldOfV3(seed) as world:
        populate(world)
        world.happen(MOMENTS)
        come_to_rest(world)
        for program in world.programs:
            program.go()
        world.rest(30.0)
        for what, amount in world.holdings():
            if amount:
                world.note(Left("the relay", what))
        if not world.stop():
            world.note(Left("the relay", "something that keeps it from stopping"))
    for failure in world.failures:
        failure.raiseException()
    return world.history, world.random.getstate()


def digest(seed):
    """A run in short, down to the last draw of its generator."""
    return sha256(repr(run(seed)).encode()).hexdigest()


class SimulationTests(SynchronousTestCase):
    """The seeds of this run."""

    def judge(self, seed):
        """What happened with a seed, and what is wrong with it, a line each."""
        history, _ = run(seed)
        found = violations(history)
        found += [f"logged: {each.getErrorMessage()}" for each in self.flushLoggedErrors()]
        if ONLY is not None:
            print(*history, sep="\n")  # noqa: T201 - whoever replays it wants to see it
        return history, found

    def test_whatever_breaks(self):
        """Each accepted text or file is shown once, as it was, or reported to its sender, and nobody
        is told lies."""
        seeds = range(FIRST, FIRST + SEEDS) if ONLY is None else [int(ONLY)]
        counts, bad = Counter(), {}
        for seed in seeds:
            history, found = self.judge(seed)
            counts.update(type(event) for event in history)
            counts["files"] += sum(getattr(event, "is_file", False) for event in history)
            if found:
                bad[seed] = found
        lines = [line for found in bad.values() for line in found]
        report(
            "simulation of v3",
            seeds=len(seeds),
            **{kind.__name__.lower(): counts[kind] for kind in COUNTED},
            files=counts["files"],
            lost=sum(line.startswith("lost") for line in lines),
            twice=sum(line.startswith("twice") for line in lines),
            bad=list(bad),
        )
        said = [
            f"{line}, with {COMMAND.format(seed=seed)}"
            for seed, found in bad.items()
            for line in found
        ]
        self.assertEqual(said, [], "\n" + "\n".join(said))
        if ONLY is None:
            # So that it is no empty peace that is kept.
            for kind in COMMON:
                self.assertGreater(counts[kind], len(seeds) // 4, kind)
            self.assertGreater(counts["files"], len(seeds))


class DeterminismTests(SynchronousTestCase):
    """A seed says everything."""

    def test_same_again(self):
        """The same seed gives the same history, also in a process that hashes in another way."""
        program = f"from {__name__} import digest; print(digest(1))"
        told = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "1"},
            stdout=subprocess.PIPE,
            check=True,
        )
        mine = digest(1)
        self.assertEqual(told.stdout.decode().strip(), mine)
        self.assertNotEqual(digest(2), mine)


class BrokenTests(SynchronousTestCase):
    """Clients and relays that are broken, and how soon that is noticed."""

    def first_noticed(self, *kinds):
        """The first seed in whose run something of one of these kinds is wrong."""
        for seed in range(CAUGHT_WITHIN):
            history, _ = run(seed)
            found = [line for line in violations(history) if line.startswith(kinds)]
            self.flushLoggedErrors()
            if found:
                report("simulation of v3, broken", test=self.id(), noticed_at=seed)
                return seed
        raise self.failureException(f"not noticed within {CAUGHT_WITHIN} seeds")

    def test_acknowledged_before_the_commit(self):
        """Mail is missed that was acknowledged before it was on the client's disk."""
        with mock.patch.object(clients, "ClientDisk", ForgetfulDisk):
            self.first_noticed("lost", "needless")

    def test_message_ids_forgotten(self):
        """A client that does not know the ids of what has come shows what is sent again twice."""
        keep = history_of_client.keep_received

        def careless(unit, of, message):
            unit.execute(
                "DELETE FROM messages WHERE NOT mine AND message_id = ?", message.message_id
            )
            return keep(unit, of, message)

        with (
            mock.patch.object(history_of_client, "has_come", lambda *_: False),
            mock.patch.object(history_of_client, "keep_received", careless),
        ):
            self.first_noticed("twice")

    def test_files_receipted_early(self):
        """A client that receipts a file when it is offered says what is not true yet."""
        take_offer = transfers.take_offer

        def careless(unit, of, message_id, offer):
            take_offer(unit, of, message_id, offer)
            transfers.note(unit, of, message_id)

        with mock.patch.object(transfers, "take_offer", careless):
            self.first_noticed("receipts")

    def test_files_not_compared(self):
        """A client that does not look at a file before it gives it its name shows another one."""

        def careless(self, connection, file):
            return self._choose(connection, file)

        write = FileReceiver._write

        def torn(self, file, offset, content):
            write(self, file, offset, content[:-1])

        with (
            mock.patch.object(FileReceiver, "_read_on", careless),
            mock.patch.object(FileReceiver, "_write", torn),
        ):
            self.first_noticed("made up")

    def test_bytes_that_change(self):
        """A client that tries again with other bytes is refused, or cannot be read."""
        to_send, tried = outbox.to_send, set()

        def careless(unit, busy, limit):
            envelopes = to_send(unit, busy, limit)
            again = tried.intersection(each.envelope_id for each in envelopes)
            tried.update(each.envelope_id for each in envelopes)
            return [
                evolve(each, sealed=unit.random(len(each.sealed)))
                if each.envelope_id in again
                else each
                for each in envelopes
            ]

        with mock.patch.object(outbox, "to_send", careless):
            self.first_noticed("needless")

    def test_tombstones_forgotten(self):
        """A relay that forgets what was acknowledged takes it again from who was not answered."""
        delete = operations._delete_mail

        def careless(work, mail):
            mail = list(mail)
            delete(work, mail)
            statements.delete_tombstones(work.cursor, [place for place, _, _ in mail])

        with mock.patch.object(operations, "_delete_mail", careless):
            self.first_noticed("needless")


class ForgetfulDisk(clients.ClientDisk):
    """A client's disk that has not got the last commit when the process dies."""

    def before(self, connection, sql):
        super().before(connection, sql)
        if sql == "COMMIT":
            shutil.rmtree(self._stale, ignore_errors=True)
            shutil.copytree(self.path, self._stale)

    def crash(self):
        self.fuse = None
        self._replace(self._stale if self._stale.exists() else self.path)

    @property
    def _stale(self):
        return self._folder / "stale"
