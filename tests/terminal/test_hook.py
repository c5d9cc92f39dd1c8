"""Commands that are run on messages: with processes that only say that they run, and one that does."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.interfaces import IProcessTransport, IReactorProcess, IReactorTime
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from messageu.client.v3 import Contact, Standing
from messageu.model.v3 import Identity
from messageu.terminal import NOTIFY_PAUSE, Hook, Notifier, find_way
from messageu.terminal._hook import HOOK_GRACE, LINE_LIMIT, OUTPUT_LIMIT, OUTPUT_PATIENCE
from tests.sockets.client import wait_until

from .processes import FakeReactor

SECRETS = {"MESSAGEU_PASSPHRASE": "secret", "MESSAGEU_EXPORT_PASSPHRASE": "secret"}
TIMEOUT = 20.0


class HookCase(SynchronousTestCase):
    """A hook without processes."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.lines: list[str] = []
        self.killed: list[tuple[int, int]] = []
        self.hook = Hook(
            self.reactor, "work", {"HOME": "/", **SECRETS}, self.lines.append,
            timeout=TIMEOUT, kill=lambda pid, number: self.killed.append((pid, number)),
        )  # fmt: skip

    def run_hook(self, data: bytes = b"hello", **facts: str) -> Deferred[None]:
        """Ask for a run."""
        return Deferred.fromCoroutine(self.hook.run(data, facts))


class FakeTests(HookCase):
    """The fakes."""

    def test_interfaces(self) -> None:
        """They are what they stand for."""
        self.assertTrue(verifyObject(IReactorProcess, self.reactor))
        self.assertTrue(verifyObject(IReactorTime, self.reactor))
        self.run_hook()
        self.assertTrue(verifyObject(IProcessTransport, self.reactor.processes[0]))


class HookTests(HookCase):
    """A command."""

    def test_input(self) -> None:
        """The message is on standard input, which ends; the command line has the command alone."""
        running = self.run_hook(b"; rm -rf /")
        [process] = self.reactor.processes
        self.assertEqual((process.written, process.stdin_closed), (b"; rm -rf /", True))
        self.assertEqual(process.arguments[-1], "work")
        self.assertNotIn("rm -rf", " ".join(process.arguments))
        process.exit()
        self.assertIsNone(self.successResultOf(running))
        self.assertEqual((self.lines, self.reactor.getDelayedCalls()), ([], []))

    def test_environment(self) -> None:
        """It has ours and the facts, but none of our own variables: no passphrase."""
        self.run_hook(MESSAGEU_KIND="text")
        [process] = self.reactor.processes
        self.assertEqual(process.environment, {"HOME": "/", "MESSAGEU_KIND": "text"})

    def test_one_at_a_time(self) -> None:
        """The next is run when the one before has ended, in order."""
        first, second, third = (self.run_hook(data) for data in (b"1", b"2", b"3"))
        self.assertEqual(len(self.reactor.processes), 1)
        self.reactor.processes[0].exit()
        self.successResultOf(first)
        self.assertNoResult(second)
        self.reactor.processes[1].exit()
        self.reactor.processes[2].exit()
        self.successResultOf(third)
        self.assertEqual([each.written for each in self.reactor.processes], [b"1", b"2", b"3"])

    def test_failures_are_said(self) -> None:
        """An exit code, a signal and a process that cannot be made are a line, and no error."""
        running = self.run_hook()
        self.reactor.processes[0].exit(3)
        self.successResultOf(running)
        running = self.run_hook()
        self.reactor.processes[1].exit(number=11)
        self.successResultOf(running)
        self.reactor.refuses = True
        self.successResultOf(self.run_hook())
        self.assertEqual(
            self.lines,
            [
                "the command has failed with exit code 3",
                "the command was ended by signal 11",
                "the command cannot be run: Cannot allocate memory",
            ],
        )

    def test_timeout(self) -> None:
        """What takes too long is told to end, and then killed, with all that it has started."""
        running = self.run_hook()
        self.reactor.advance(TIMEOUT)
        self.assertEqual(self.killed, [(1_000_000, signal.SIGTERM)])
        self.reactor.advance(HOOK_GRACE)
        self.assertEqual(self.killed[1:], [(1_000_000, signal.SIGKILL)])
        self.assertNoResult(running)
        self.reactor.processes[0].exit(number=9)
        self.successResultOf(running)
        self.assertIn("more than 20 seconds", self.lines[0])

    def test_cancelled(self) -> None:
        """When the program ends, so does the command, and what waits is not run."""
        running, waiting = self.run_hook(), self.run_hook()
        waiting.cancel()
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.killed, [(1_000_000, signal.SIGKILL)])
        self.reactor.processes[0].exit(number=9)
        self.assertEqual((len(self.reactor.processes), self.lines), (1, []))

    def test_no_group_yet(self) -> None:
        """One that leads no group yet is killed alone; one that is gone already is no error."""

        def refuse(*_: int) -> None:
            raise ProcessLookupError

        self.hook._kill = refuse
        running = self.run_hook()
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.assertEqual(self.reactor.processes[0].signals, [signal.SIGKILL])
        self.reactor.processes[0].exit(number=9)
        running = self.run_hook()
        self.reactor.processes[1].ended = True
        running.cancel()
        self.failureResultOf(running, CancelledError)

    def test_output(self) -> None:
        """What it writes is shown harmless, in lines that are no longer than they may be."""
        running = self.run_hook()
        [process] = self.reactor.processes
        process.protocol.childDataReceived(1, b"\x1b[2Jhe")
        process.protocol.childDataReceived(2, b"oh\n")
        process.protocol.childDataReceived(1, b"llo\n" + b"x" * (LINE_LIMIT + 1))
        process.exit()
        self.successResultOf(running)
        self.assertEqual(self.lines, ["oh", "\\x1b[2Jhello", "x" * LINE_LIMIT, "x"])

    def test_output_without_end(self) -> None:
        """Of much output the beginning is shown, and nothing is kept of the rest."""
        self.run_hook()
        [process] = self.reactor.processes
        for _ in range(3):
            process.protocol.childDataReceived(1, b"y\n" * (OUTPUT_LIMIT // 3))
        self.assertLessEqual(sum(map(len, self.lines)), OUTPUT_LIMIT)
        self.assertEqual(self.lines[-1], "(more of its output is not shown)")

    def test_output_that_stays_open(self) -> None:
        """What it leaves in the background cannot keep us waiting by its output."""
        running = self.run_hook()
        [process] = self.reactor.processes
        process.protocol.processExited(Failure(ProcessDone(0)))
        self.assertFalse(process.closed)
        self.reactor.advance(OUTPUT_PATIENCE)
        self.assertTrue(process.closed)
        process.protocol.processEnded(Failure(ProcessDone(0)))
        self.successResultOf(running)


class ProcessTests(TestCase):
    """Real commands."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.lines: list[str] = []

    async def run_command(self, command: str, data: bytes, seconds: float = 30.0) -> None:
        """Run a command, which is given a folder, to its end."""
        environment = {**os.environ, **SECRETS, "FOLDER": str(self.folder)}
        hook = Hook(reactor, command, environment, self.lines.append, timeout=seconds)
        await hook.run(data, {"MESSAGEU_KIND": "text"})

    def read(self, name: str) -> bytes:
        """What a command has written."""
        return (self.folder / name).read_bytes()

    async def test_input(self) -> None:
        """A command reads the message to its end, without our passphrase."""
        await self.run_command('cat >"$FOLDER/read"; env | grep ^MESSAGEU', b"a'$(b)\n")
        self.assertEqual(self.read("read"), b"a'$(b)\n")
        self.assertEqual(self.lines, ["MESSAGEU_KIND=text"])

    async def test_input_that_is_not_read(self) -> None:
        """A command need not read the message."""
        await self.run_command("exec <&-; exit 3", b"x" * 2**20)
        self.assertEqual(self.lines, ["the command has failed with exit code 3"])

    async def test_timeout(self) -> None:
        """A command, with what it has started, is ended when its time is over; no child is left."""
        command = 'sleep 600 & echo $! >"$FOLDER/started"; echo $$ >"$FOLDER/own"; wait'
        await self.run_command(command, b"", 0.3)
        self.assertEqual(self.lines[1:], ["the command was ended by signal 15"])
        self.assertRaises(ChildProcessError, os.waitpid, int(self.read("own")), os.WNOHANG)
        started = int(self.read("started"))
        wait_until(lambda: not self.lives(started), "what it has started has ended")

    @staticmethod
    def lives(pid: int) -> bool:
        """Whether a process is there, and no zombie that waits for somebody else."""
        try:
            return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text("ascii")
        except OSError:
            return False


def contact(number: int, label: str, standing: Standing = Standing.ACCEPTED) -> Contact:
    """Somebody."""
    identity = Identity(bytes([number]) * 32)
    return Contact(identity, None, label, None, "", standing, False, None, 0, b"")


class NotifierTests(SynchronousTestCase):
    """Notifications."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.rung: list[None] = []

    def notifier(self, **environment: str) -> Notifier:
        """One where notify-send is installed."""
        return Notifier(
            self.reactor, {**SECRETS, **environment}, lambda: self.rung.append(None),
            which=lambda program, path: f"/usr/bin/{program}",
        )  # fmt: skip

    def test_desktop(self) -> None:
        """A desktop is told from whom it is; its markup and our passphrase stay out of it."""
        self.notifier(DISPLAY=":0").notify(contact(1, "<b>--\x1bann"))
        [process] = self.reactor.processes
        self.assertEqual(
            process.arguments,
            ["notify-send", "--app-name=messageu", "--", "messageu",
             "message from &lt;b&gt;--\\x1bann"],
        )  # fmt: skip
        self.assertEqual(process.environment, {"DISPLAY": ":0"})
        process.exit()
        self.assertEqual((self.rung, self.reactor.getDelayedCalls()), ([], []))

    def test_bell(self) -> None:
        """Without a desktop, or a program for it, the bell is rung."""
        self.assertIsNone(find_way({}, which=lambda program, path: program))
        self.assertIsNone(find_way({"DISPLAY": ":0"}, which=lambda program, path: None))
        self.notifier().notify(contact(1, "anna"))
        self.reactor.refuses = True
        self.notifier(DISPLAY=":0").notify(contact(1, "anna"))
        self.assertEqual((len(self.rung), self.reactor.processes), (2, []))

    def test_seldom(self) -> None:
        """Of one contact there is one notification for a while, whatever comes meanwhile."""
        notifier = self.notifier()
        for number in (1, 1, 2, 1):
            notifier.notify(contact(number, "anna"))
        self.assertEqual(len(self.rung), 2)
        self.reactor.advance(NOTIFY_PAUSE)
        notifier.notify(contact(1, "anna"))
        self.assertEqual(len(self.rung), 3)

    def test_strangers(self) -> None:
        """Who only asks to write to us makes no noise."""
        self.notifier().notify(contact(1, "anna", Standing.REQUEST))
        self.assertEqual(self.rung, [])

    def test_stuck(self) -> None:
        """A notification that hangs is ended; until then there is no other, and none outlives us."""
        notifier = self.notifier(DISPLAY=":0")
        notifier.notify(contact(1, "anna"))
        notifier.notify(contact(2, "bern"))
        [stuck] = self.reactor.processes
        self.reactor.advance(10)
        self.assertEqual(stuck.signals, ["KILL"])
        stuck.exit(number=9)
        notifier.notify(contact(3, "carl"))
        notifier.close()
        self.assertEqual(self.reactor.processes[1].signals, ["KILL"])
