"""Processes that only say that they run, and do what the test says."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IProcessTransport, IReactorProcess, IReactorTime
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IProcessTransport)
@define(eq=False)
class FakeProcess:
    """A process that does what the test says."""

    protocol: object
    arguments: list[str]
    environment: dict[str, str]
    child_fds: dict[int, object] | None
    pid: int
    written: bytes = b""
    signals: list[object] = field(factory=list)
    stdin_closed: bool = False
    closed: bool = False
    ended: bool = False

    def write(self, data):
        self.written += data

    def closeStdin(self):
        self.stdin_closed = True

    def loseConnection(self):
        self.closed = True

    def signalProcess(self, signalID):
        if self.ended:
            raise ProcessExitedAlready
        self.signals.append(signalID)

    def closeStdout(self):
        raise NotImplementedError

    def closeChildFD(self, descriptor):
        raise NotImplementedError

    def writeToChild(self, childFD, data):
        raise NotImplementedError

    def writeSequence(self, data):
        raise NotImplementedError

    closeStderr = getPeer = getHost = closeStdout

    def exit(self, code=0, number=None):
        """End, with all output read."""
        self.ended = True
        reason = ProcessTerminated(code, number) if code or number else ProcessDone(0)
        self.protocol.processExited(Failure(reason))
        self.protocol.processEnded(Failure(reason))


@implementer(IReactorProcess, IReactorTime)
class FakeReactor(Clock):
    """A reactor whose processes are fakes.

    :ivar refuses: whether none can be started.
    """

    def __init__(self):
        super().__init__()
        self.processes = []
        self.refuses = False

    def spawnProcess(
        self, processProtocol, executable, args=(), env=None, path=None, uid=None, gid=None,
        usePTY=0, childFDs=None,
    ):  # fmt: skip
        if self.refuses:
            raise OSError(12, "Cannot allocate memory")
        pid = 1_000_000 + len(self.processes)
        process = FakeProcess(processProtocol, list(args), dict(env), childFDs, pid)
        self.processes.append(process)
        processProtocol.makeConnection(process)
        return process
