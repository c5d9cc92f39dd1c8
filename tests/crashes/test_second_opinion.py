"""strace kills a relay at its n-th sync, where strace is: what stands before the disk in the other
tests is ours, and could be wrong."""

from __future__ import annotations

import shutil
import signal

from twisted.trial.unittest import SkipTest

from tests.torture import report, scaled

from .relays import CrashTestCase

_INJECT = ("-f", "-qq", "-e", "trace=fdatasync,fsync,pwrite64", "-e")


class StraceTests(CrashTestCase):
    """A relay below strace."""

    def command(self, way: str, *options: str, before: tuple[str, ...] = ()) -> list[str]:
        own = super().command(way, *options, before=before)
        return [*self.tracer, *own]

    def test_killed_at_a_call(self) -> None:
        """Killed by strace at a call of the thread that writes, it has all that it has acknowledged
        when it is started again."""
        strace = shutil.which("strace")
        if strace is None:
            raise SkipTest("there is no strace")
        self.environment = {}
        self.tracer: list[str] = []
        kills = 0
        relay = self.serve()
        self.clients.begin()
        for call, points in scaled(
            (("fdatasync", (2,)), ("pwrite64", (30,))),
            (("fdatasync", range(1, 12)), ("pwrite64", range(1, 130, 3))),
        ):
            for point in points:
                relay.stop(signal.SIGKILL)
                trace = str(self.folder / "trace")
                inject = f"inject={call}:signal=KILL:when={point}"
                self.tracer = [strace, "-o", trace, *_INJECT, inject]
                try:
                    relay = self.serve()
                    self.clients.run(f"{call} {point}", until_broken=True)
                    self.assertEqual(relay.wait(), -signal.SIGKILL)
                except RuntimeError:  # at a call of its start
                    pass
                kills += 1
                self.tracer = []
                relay = self.serve()
                self.check()
            self.clients.drain()
        relay.stop()
        self.check_database()
        report(
            "killed by strace at fdatasync and pwrite64",
            kills=kills,
            acknowledged=len(self.history.acknowledged),
            lost=0,
        )
