"""What runs seeds of a world, and says what is wrong with them, for any database."""

import os
import subprocess
import sys
from collections import Counter
from hashlib import sha256

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.torture import report

from .clients import populate, prove_service
from .database import Killed
from .history import (
    Acknowledged,
    Held,
    Received,
    Refused,
    RelayKilled,
    RelayStopped,
    violations,
)
from .sqlite import Disk
from .world import World

FIRST = int(os.environ.get("FIRST_SEED", "0"))
ONLY = os.environ.get("SEED")
COUNTED = (Acknowledged, Received, Refused, RelayKilled, RelayStopped)
MOMENTS = 400
COMMAND = "SEED={seed} .venv/bin/trial {module}"


def run(seed, new_database=Disk, seen=None):
    """What happened in the world of a seed; and the state in which its generator was left.

    :param seen: is told what else was seen in its database, and how often.
    """
    with World(seed, new_database) as world:
        post = populate(world)
        world.happen(MOMENTS)
        world.rest(45.0 + world.database.lease_life)
        for what, amount in world.holdings():
            world.note(Held(what, amount))
        prove_service(post)
        world.rest(15.0, 0.5)
        world.note(Held("a relay that does not stop", int(not world.stop())))
    if seen is not None:
        seen.update(world.database.seen)
    for failure in world.failures:
        failure.raiseException()
    return world.history, world.random.getstate()


def watched(run, *asked):
    """The history of a run, and what it has raised."""
    try:
        history, _ = run(*asked)
    except SkipTest:
        raise
    except (Exception, Killed) as error:  # noqa: BLE001 - its seed is to be named
        return [], [f"raised: {error!r}"]
    return history, []


def digest(seed, new_database=Disk):
    """A run in short, down to the last draw of its generator."""
    return sha256(repr(run(seed, new_database)).encode()).hexdigest()


def digests_elsewhere(module, seeds, hash_seed="1"):
    """What the function ``digest`` of a module makes of some seeds in a process that hashes strings in
    another way."""
    program = f"from {module} import digest; print(*map(digest, {list(seeds)}))"
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": hash_seed},
        stdout=subprocess.PIPE,
        check=True,
    )
    return told.stdout.decode().split()


class Judge(SynchronousTestCase):
    """Runs seeds, and says what is wrong.

    :cvar new_database: makes the databases.
    :cvar name: what a report calls it.
    """

    new_database = Disk
    name = "simulation"

    def setUp(self):
        self.seen = Counter()

    def judge(self, seed):
        """What is wrong with the run of a seed, a line each."""
        history, found = watched(run, seed, self.new_database, self.seen)
        found += violations(history)
        # What a test logs as an error would fail it, without saying which seed it was.
        found += [f"logged: {each.getErrorMessage()}" for each in self.flushLoggedErrors()]
        if ONLY is not None:
            print(*history, sep="\n")  # noqa: T201 - whoever replays it wants to see it
        return history, found

    def judge_part(self, amount, part=0, parts=1):
        """Every so many of so many seeds."""
        if ONLY is not None:
            seeds = [int(ONLY)] if part == 0 else []
        else:
            seeds = range(FIRST + part, FIRST + amount, parts)
        counts = dict.fromkeys(COUNTED, 0)
        bad = {}
        for seed in seeds:
            history, found = self.judge(seed)
            for kind in counts:
                counts[kind] += sum(type(event) is kind for event in history)
            if found:
                bad[seed] = found
        report(
            self.name,
            seeds=len(seeds),
            **{kind.__name__.lower(): count for kind, count in counts.items()},
            lost=sum(line.startswith("lost") for found in bad.values() for line in found),
            **self.seen,
            bad=list(bad),
        )
        lines = []
        for seed, found in bad.items():
            lines += [f"SEED={seed}: {line}" for line in found]
            again = COMMAND.format(seed=seed, module=type(self).__module__)
            lines.append(f"replay it with: {again}")
        self.assertEqual(lines, [], "\n" + "\n".join(lines))
        if ONLY is None:
            # So that it is no empty peace that is kept.
            for kind, count in counts.items():
                self.assertGreater(count, len(seeds) // 4, kind)


def settle_however_closed(delivery):
    """What a relay does that deletes mail however its connection has ended."""
    delivery._machine.prove()
    delivery._machine.break_off()


class Doubter(SynchronousTestCase):
    """Breaks something, and says how soon that is noticed.

    :cvar within: seeds.
    :cvar is_loud: whether errors may be logged.
    """

    new_database = Disk
    name = "simulation"
    within = 200
    is_loud = False

    def first_noticed(self, *kinds, first=0, new_database=None):
        """The first seed in whose run something of one of these kinds is wrong.

        :param first: where to begin, as others were looked at before.
        """
        for seed in range(first, first + self.within):
            history, _ = run(seed, new_database or self.new_database)
            if self.is_loud:
                self.flushLoggedErrors()
            if any(line.startswith(kinds) for line in violations(history)):
                report(f"{self.name}, broken", test=self.id(), noticed_at=seed)
                return seed
        raise self.failureException(f"not noticed within {self.within} seeds")
