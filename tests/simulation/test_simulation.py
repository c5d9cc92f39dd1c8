"""Whatever happens, no acknowledged message is lost: many seeds, and what would be noticed."""

import shutil
from unittest import mock

from messageu.server._delivery import Delivery
from tests.torture import scaled

from . import judge
from .judge import FIRST, Doubter, Judge, digest, digests_elsewhere, settle_however_closed
from .sqlite import Disk

SEEDS = scaled(1_000, 20_000)
PARTS = 4


class SimulationTests(Judge):
    """All seeds, in parts that can run side by side."""

    def test_first_quarter(self):
        """Nothing acknowledged is lost or goes astray, whatever breaks."""
        self.judge_part(SEEDS, 0, PARTS)

    def test_second_quarter(self):
        """The same, with other seeds."""
        self.judge_part(SEEDS, 1, PARTS)

    def test_third_quarter(self):
        """The same, with other seeds."""
        self.judge_part(SEEDS, 2, PARTS)

    def test_fourth_quarter(self):
        """The same, with other seeds."""
        self.judge_part(SEEDS, 3, PARTS)


class DeterminismTests(Judge):
    """A seed says everything."""

    def test_same_again(self):
        """The same seed gives the same history, and draws as often."""
        for seed in range(3):
            self.assertEqual(digest(seed), digest(seed))
        self.assertNotEqual(digest(0), digest(1))

    def test_same_in_another_process(self):
        """So it does in a process that hashes strings in another way."""
        for hash_seed in ("1", "2"):
            told = digests_elsewhere(__name__, range(3), hash_seed)
            self.assertEqual(told, [digest(seed) for seed in range(3)])

    def test_failure_names_its_seed(self):
        """A seed in whose run something is wrong is printed, with the command that replays it."""
        with (
            mock.patch.object(judge, "violations", lambda history: ["lost: all"]),
            mock.patch.object(judge, "ONLY", None),
            mock.patch.object(judge, "report"),
        ):
            error = self.assertRaises(self.failureException, self.judge_part, 1)
        self.assertIn(f"SEED={FIRST}: lost: all", str(error))
        self.assertIn(f"SEED={FIRST} .venv/bin/trial {__name__}", str(error))


class BrokenTests(Doubter):
    """Relays and disks that are broken, and how soon that is noticed."""

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
        with mock.patch.object(Delivery, "broken", settle_however_closed):
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
