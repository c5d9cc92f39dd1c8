"""Whatever happens, no acknowledged message is lost: many seeds, and what would be noticed."""

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from messageu.server._delivery import Delivery
from tests.simulation.clients import populate, prove_service
from tests.simulation.history import (
    Acknowledged,
    Held,
    Received,
    Refused,
    RelayKilled,
    RelayStopped,
    violations,
)
from tests.simulation.sqlite import Disk
from tests.simulation.world import World
from tests.torture import report, scaled

SEEDS = scaled(1_000, 20_000)
FIRST = int(os.environ.get("FIRST_SEED", "0"))
ONLY = os.environ.get("SEED")
PARTS = 4
COUNTED = (Acknowledged, Received, Refused, RelayKilled, RelayStopped)
MOMENTS = 400
CAUGHT_WITHIN = 200
"""Seeds within which what is broken on purpose is to be noticed."""
COMMAND = "SEED={seed} .venv/bin/trial tests.simulation"


def run(seed, new_database=Disk):
    """What happened in the world of a seed; and the state in which its generator was left."""
    with World(seed, new_database) as world:
        post = populate(world)
        world.happen(MOMENTS)
        world.rest(45.0)
        for what, amount in world.holdings():
            world.note(Held(what, amount))
        prove_service(post)
        world.rest(15.0, 0.5)
        world.note(Held("a relay that does not stop", int(not world.stop())))
    for failure in world.failures:
        failure.raiseException()
    return world.history, world.random.getstate()


def digest(seed):
    """A run in short, down to the last draw of its generator."""
    return sha256(repr(run(seed)).encode()).hexdigest()


class Judge(SynchronousTestCase):
    """Runs seeds, and says what is wrong."""

    def judge(self, seed, **world):
        """What is wrong with the run of a seed, a line each."""
        history, _ = run(seed, **world)
        found = violations(history)
        # What a test logs as an error would fail it, without saying which seed it was.
        found += [f"logged: {each.getErrorMessage()}" for each in self.flushLoggedErrors()]
        if ONLY is not None:
            print(*history, sep="\n")  # noqa: T201 - whoever replays it wants to see it
        return history, found

    def judge_part(self, part):
        if ONLY is not None:
            seeds = [int(ONLY)] if part == 0 else []
        else:
            seeds = range(FIRST + part, FIRST + SEEDS, PARTS)
        counts = dict.fromkeys(COUNTED, 0)
        bad = {}
        for seed in seeds:
            history, found = self.judge(seed)
            for kind in counts:
                counts[kind] += sum(type(event) is kind for event in history)
            if found:
                bad[seed] = found
        report(
            "simulation",
            seeds=len(seeds),
            **{kind.__name__.lower(): count for kind, count in counts.items()},
            lost=sum(line.startswith("lost") for found in bad.values() for line in found),
            bad=list(bad),
        )
        lines = []
        for seed, found in bad.items():
            lines += [f"SEED={seed}: {line}" for line in found]
            lines.append(f"replay it with: {COMMAND.format(seed=seed)}")
        self.assertEqual(lines, [], "\n" + "\n".join(lines))
        if ONLY is None:
            # So that it is no empty peace that is kept.
            for kind, count in counts.items():
                self.assertGreater(count, len(seeds) // 4, kind)


class SimulationTests(Judge):
    """All seeds, in parts that can run side by side."""

    def test_first_quarter(self):
        """Nothing acknowledged is lost or goes astray, whatever breaks."""
        self.judge_part(0)

    def test_second_quarter(self):
        """The same, with other seeds."""
        self.judge_part(1)

    def test_third_quarter(self):
        """The same, with other seeds."""
        self.judge_part(2)

    def test_fourth_quarter(self):
        """The same, with other seeds."""
        self.judge_part(3)


class DeterminismTests(Judge):
    """A seed says everything."""

    def test_same_again(self):
        """The same seed gives the same history, and draws as often."""
        for seed in range(3):
            self.assertEqual(digest(seed), digest(seed))
        self.assertNotEqual(digest(0), digest(1))

    def test_same_in_another_process(self):
        """So it does in a process that hashes strings in another way."""
        program = f"from {__name__} import digest; print(*map(digest, range(3)))"
        for hash_seed in ("1", "2"):
            told = subprocess.run(
                [sys.executable, "-c", program],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    "PYTHONHASHSEED": hash_seed,
                },
                stdout=subprocess.PIPE,
                check=True,
            )
            self.assertEqual(told.stdout.decode().split(), [digest(seed) for seed in range(3)])

    def test_failure_names_its_seed(self):
        """A seed in whose run something is wrong is printed, with the command that replays it."""
        with (
            mock.patch(f"{__name__}.violations", lambda history: ["lost: all"]),
            mock.patch(f"{__name__}.SEEDS", 1),
            mock.patch(f"{__name__}.ONLY", None),
            mock.patch(f"{__name__}.report"),
        ):
            error = self.assertRaises(self.failureException, self.judge_part, 0)
        self.assertIn(f"SEED={FIRST}: lost: all", str(error))
        self.assertIn(f"SEED={FIRST} .venv/bin/trial tests.simulation", str(error))


class BrokenTests(SynchronousTestCase):
    """Relays and disks that are broken, and how soon that is noticed."""

    def first_noticed(self, kind, **world):
        """The first seed in whose run something of a kind is wrong."""
        for seed in range(CAUGHT_WITHIN):
            history, _ = run(seed, **world)
            if any(line.startswith(kind) for line in violations(history)):
                return seed
        raise self.failureException(f"not noticed within {CAUGHT_WITHIN} seeds")

    def test_deleted_when_written(self):
        """Mail that is deleted when the kernel has taken it, and not when it has arrived, is
        missed."""
        flushed = Delivery.flushed

        def settle_at_once(delivery, horizon):
            flushed(delivery, horizon)
            delivery._machine.prove()

        with mock.patch.object(Delivery, "flushed", settle_at_once):
            self.first_noticed("lost")

    def test_deleted_when_closed(self):
        """So is mail that is deleted however the connection has ended."""

        def settle(delivery):
            delivery._machine.prove()
            delivery._machine.break_off()

        with mock.patch.object(Delivery, "broken", settle):
            self.first_noticed("lost")

    def test_any_request_is_proof(self):
        """So is mail that any request settles, also one that was sent before the answer left."""
        heard = Delivery.heard

        def believe(delivery, offset, unacknowledged):
            heard(delivery, delivery._horizon, 0)

        with mock.patch.object(Delivery, "heard", believe):
            self.first_noticed("lost")

    def test_acknowledged_too_early(self):
        """So is mail that was acknowledged before it was on the disk."""
        self.first_noticed("lost", new_database=ForgetfulDisk)


class ForgetfulDisk(Disk):
    """A disk that has not got the last commit when the process dies."""

    def before(self, relay, connection, sql):
        super().before(relay, connection, sql)
        if sql == "COMMIT":
            self.copy_to(self.folder / "stale")

    def crash(self, relay):
        super().crash(relay)
        shutil.copytree(self.folder / "stale", self.path.parent, dirs_exist_ok=True)
