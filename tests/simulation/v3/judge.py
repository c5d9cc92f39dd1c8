"""What runs seeds of a world of v3, and says what is wrong with them, for any database."""

from collections import Counter
from hashlib import sha256

from twisted.trial.unittest import SynchronousTestCase

from tests.simulation.history import RelayKilled, RelayStopped
from tests.simulation.judge import COMMAND, FIRST, ONLY, watched
from tests.simulation.sqlite import Disk
from tests.torture import report

from .clients import come_to_rest, populate, prove_service
from .history import (
    Accepted,
    ClientKilled,
    Cut,
    Delivered,
    Left,
    Overtook,
    Proved,
    Reset,
    Restored,
    Shown,
    Undelivered,
    violations,
)
from .world import WorldOfV3

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
    Proved,
)
COMMON = (Accepted, Shown, Delivered, ClientKilled, RelayKilled, Cut)
"""What happens in one world of four, and more often."""

MOMENTS = 400


def run(seed, new_database=Disk):
    """What happened in the world of a seed; and the state in which its generator was left."""
    with WorldOfV3(seed, new_database) as world:
        populate(world)
        world.happen(MOMENTS)
        come_to_rest(world)
        prove_service(world)
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


def digest(seed, new_database=Disk):
    """A run in short, down to the last draw of its generator."""
    return sha256(repr(run(seed, new_database)).encode()).hexdigest()


class JudgeOfV3(SynchronousTestCase):
    """Runs seeds, and says what is wrong.

    :cvar new_database: makes the databases.
    :cvar name: what a report calls it.
    """

    new_database = Disk
    name = "simulation of v3"

    def judge(self, seed):
        """What happened with a seed, and what is wrong with it, a line each."""
        history, found = watched(run, seed, self.new_database)
        found += violations(history)
        found += [f"logged: {each.getErrorMessage()}" for each in self.flushLoggedErrors()]
        if ONLY is not None:
            print(*history, sep="\n")  # noqa: T201 - whoever replays it wants to see it
        return history, found

    def judge_all(self, amount, first=0):
        """So many seeds."""
        seeds = range(FIRST + first, FIRST + first + amount) if ONLY is None else [int(ONLY)]
        counts, bad = Counter(), {}
        for seed in seeds:
            history, found = self.judge(seed)
            counts.update(type(event) for event in history)
            counts["files"] += sum(getattr(event, "is_file", False) for event in history)
            if found:
                bad[seed] = found
        lines = [line for found in bad.values() for line in found]
        report(
            self.name,
            seeds=len(seeds),
            **{kind.__name__.lower(): counts[kind] for kind in COUNTED},
            files=counts["files"],
            lost=sum(line.startswith("lost") for line in lines),
            twice=sum(line.startswith("twice") for line in lines),
            bad=list(bad),
        )
        module = type(self).__module__
        said = [
            f"{line}, with {COMMAND.format(seed=seed, module=module)}"
            for seed, found in bad.items()
            for line in found
        ]
        self.assertEqual(said, [], "\n" + "\n".join(said))
        if ONLY is None:
            # So that it is no empty peace that is kept.
            for kind in COMMON:
                self.assertGreater(counts[kind], len(seeds) // 4, kind)
            self.assertGreater(counts["files"], len(seeds))


class DoubterOfV3(SynchronousTestCase):
    """Breaks something, and says how soon that is noticed.

    :cvar within: seeds.
    """

    new_database = Disk
    name = "simulation of v3"
    within = 25

    def first_noticed(self, *kinds, first=0):
        """The first seed in whose run something of one of these kinds is wrong.

        :param first: where to begin, as others were looked at before.
        """
        for seed in range(first, first + self.within):
            history, _ = run(seed, self.new_database)
            found = [line for line in violations(history) if line.startswith(kinds)]
            self.flushLoggedErrors()
            if found:
                report(f"{self.name}, broken", test=self.id(), noticed_at=seed)
                return seed
        raise self.failureException(f"not noticed within {self.within} seeds")
