"""A disk that says EIO or ENOSPC: at each call that changes it, once, or until it is mended."""

from __future__ import annotations

import errno

from tests.torture import report, scaled

from .disk import FOR_EVER, Action
from .relays import CrashTestCase, spread

EVERY = 1_000_000
ERRORS = (errno.EIO, errno.ENOSPC)


class ErrorTests(CrashTestCase):
    """A relay that meets errors again and again."""

    def setUp(self) -> None:
        super().setUp()
        self.faults = self.kept = 0

    def check_after(self, label: str) -> None:
        """The disk is mended: all is well again, in the same process."""
        self.disk.mend()
        self.faults += self.disk.hits > 0
        # A first request may still meet what the fault has left.
        self.assertEqual(self.check().refused, [])
        refused, broken = self.clients.refused, self.clients.broken
        self.clients.run(f"after {label}")
        self.assertEqual((self.clients.refused, self.clients.broken), (refused, broken))
        self.assertEqual(self.check().refused, [])

    def meet(self, error: int, limit: int) -> None:
        """Meet an error at some of the calls of a workload, or at all."""
        before = self.disk.calls
        self.clients.run("measured")
        calls = self.disk.calls - before
        for point in spread(calls, scaled(10, EVERY)):
            label = f"{errno.errorcode[error]} {limit} {point}"
            self.disk.arm(point, Action.FAIL, error=error, limit=limit)
            self.clients.run(label)
            self.check_after(label)
            if point % 20 == 0:
                self.clients.drain()

    def test_errors(self) -> None:
        """Who asks while the disk fails is answered 9000, or the connection is closed; nobody gets
        a 2103 for what is not stored, nor is anything stored that was refused. When the disk does
        what it should, the same process serves as before; and so does the next one."""
        relay = self.serve()
        self.clients.begin()
        for error in ERRORS:
            for limit in (1, FOR_EVER):
                self.meet(error, limit)
        self.assertGreater(self.clients.refused, 0)
        self.assertNotIn("Traceback", relay.log)
        relay.stop()
        self.check_database()
        self.serve()
        self.check()
        report(
            "EIO and ENOSPC at each write and sync of a workload, once and lasting",
            faults=self.faults,
            refused=self.clients.refused,
            broken=self.clients.broken,
            acknowledged=len(self.history.acknowledged),
            lost=0,
        )

    def test_refused_start(self) -> None:
        """When the disk fails while a relay starts, it says so in one line, or starts; and when the
        disk does what it should, it starts on what is there."""
        starts = ended = 0
        point, going_on = 1, True
        while going_on:
            self.new_disk()
            error = ERRORS[starts % 2]
            self.disk.arm(point, Action.FAIL, error=error)
            starts += 1
            try:
                self.serve()
            except RuntimeError as output:
                ended += 1
                self.assertIn(f"\nmessageu: {self.database}", str(output))
                self.assertNotIn("Traceback", str(output))
                self.disk.mend()
                self.serve()
            going_on = self.disk.hits > 0
            self.disk.mend()
            self.clients.begin()
            self.clients.run("first")
            self.assertEqual((self.clients.refused, self.clients.broken), (0, 0))
            self.check()
            self.relay.stop()
            self.check_database()
            point += scaled(20, 1)
        self.assertGreater(ended, 0)
        report("EIO and ENOSPC while a relay makes its database", starts=starts, refused=ended)
