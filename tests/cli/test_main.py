"""The program, as a process: pipes, files, terminals, signals."""

from __future__ import annotations

import io
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from messageu import __version__
from messageu.cli import MENU, _streams, root
from messageu.model import ListedClient
from messageu.wire import v2

from ..client.relay import ANNA, BERN

COMMAND = [sys.executable, "-m", "messageu"]
DEADLINE = 60.0


class ProcessCase(SynchronousTestCase):
    """A folder, and programs that run in it."""

    def setUp(self) -> None:
        scratch = TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def run_with(
        self, *arguments: str, shell: str = 'exec "$@"', **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the program to its end; ``shell`` is what a shell runs, the command being ``$@``."""
        return subprocess.run(
            ["sh", "-c", shell, "sh", *COMMAND, *arguments],
            cwd=self.folder,
            capture_output=True,
            check=False,
            timeout=DEADLINE,
            **options,
        )

    def listen(self) -> socket.socket:
        """A relay's port, which server.info names; anna is registered with it."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        listening.settimeout(DEADLINE)
        host, port = listening.getsockname()
        (self.folder / "server.info").write_text(f"{host}:{port}\n", "ascii")
        (self.folder / "me.info").write_bytes(ANNA.encode())
        return listening


class PipeTests(ProcessCase):
    """Without a terminal."""

    def assert_fine(
        self, finished: subprocess.CompletedProcess[bytes], *printed: str, menus: int
    ) -> None:
        """It has ended well, and has printed the menu so often, and these lines."""
        self.assertEqual((finished.returncode, finished.stderr), (0, b""))
        text = finished.stdout.decode("utf-8")
        self.assertEqual(text.count(MENU), menus)
        self.assertEqual(text.replace(MENU, ""), "".join(f"{line}\n" for line in printed))

    def test_pipe(self) -> None:
        """Lines are read from a pipe, and its end, or 0, is the end."""
        register = "you are not registered yet: register first, with 110"
        for lines, menus in ((b"", 1), (b"120\n", 2), (b"120\n0\n140\n", 2), (b"120", 2)):
            finished = self.run_with(input=lines)
            self.assert_fine(finished, *[register] * (menus - 1), menus=menus)

    def test_files(self) -> None:
        """Lines are read from a regular file and from /dev/null, which epoll cannot watch, and a
        closed input is an empty one."""
        script = self.folder / "script"
        script.write_bytes(b"what?\r\n0\n")
        with script.open("rb") as opened:
            finished = self.run_with(stdin=opened)
        self.assert_fine(finished, "there is no such entry: what?", menus=2)
        self.assert_fine(self.run_with(stdin=subprocess.DEVNULL), menus=1)
        self.assert_fine(self.run_with(shell='exec "$@" <&-'), menus=1)

    def test_input_that_does_not_block(self) -> None:
        """An input that somebody has made non-blocking is waited for."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        program = subprocess.Popen(
            COMMAND, cwd=self.folder, stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        os.close(reading)
        menu = program.stdout.read(len(MENU))
        os.write(writing, b"0\n")
        os.close(writing)
        out, err = program.communicate(timeout=DEADLINE)
        self.assertEqual((menu.decode("ascii"), out, err), (MENU, b"", b""))
        self.assertEqual(program.returncode, 0)

    def test_poor_terminal(self) -> None:
        """What an encoding does not have is written as an escape."""
        environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
        finished = self.run_with(input="zoë\n".encode(), env=environment)
        self.assert_fine(finished, "there is no such entry: zo\\xeb", menus=2)

    def test_nobody_reads(self) -> None:
        """When nobody reads the output any more the program ends, without a word."""
        program = subprocess.Popen(
            COMMAND,
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        program.stdout.read(len(MENU))
        program.stdout.close()
        program.stdin.write(b"120\n")
        program.stdin.flush()
        self.assertEqual(program.stderr.read(), b"")
        program.wait(DEADLINE)
        program.stdin.close()
        program.stderr.close()

    def test_closed_output(self) -> None:
        """Without any output the program does what it is told."""
        finished = self.run_with(shell='exec "$@" >&-', input=b"120\n0\n")
        self.assertEqual((finished.returncode, finished.stderr), (0, b""))

    def test_end_waits_for_answer(self) -> None:
        """What was asked before the end of input is finished."""
        listening = self.listen()
        program = subprocess.Popen(
            COMMAND, cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        program.stdin.write(b"120\n0\n")
        program.stdin.close()
        relay, _ = listening.accept()
        with relay:
            request = relay.recv(1000)
            self.assertEqual(request, v2.Request(ANNA.client_id, v2.ListClients()).encode())
            answer = v2.ClientsList((ListedClient(BERN.client_id, b"bern"),)).encode()
            relay.sendall(answer)
            printed = program.stdout.read().decode("utf-8")
            self.assertEqual(relay.recv(1000), b"")
        program.stdout.close()
        self.assertEqual(program.wait(DEADLINE), 0)
        self.assertEqual(printed, f"{MENU}bern\n{MENU}")

    def test_no_relay(self) -> None:
        """A relay that is not there is one line."""
        listening = self.listen()
        port = listening.getsockname()[1]
        listening.close()
        line = f"the relay at 127.0.0.1:{port} cannot be reached: nothing listens there"
        self.assert_fine(self.run_with(input=b"120\n"), line, menus=2)

    def test_damaged_keyring(self) -> None:
        """A warning of the library's is one line among the others."""
        self.listen().close()
        (self.folder / "me.keys").write_bytes(b"{")
        printed = self.run_with(input=b"120\n").stdout.decode("utf-8").replace(MENU, "")
        self.assertRegex(printed, r"\Ame\.keys is not used, [^\n]*\nthe relay at [^\n]*\n\Z")


class PartsTests(SynchronousTestCase):
    """What does not happen to a process on demand."""

    def test_input_in_trouble(self) -> None:
        """An input that is not ready is waited for; one that cannot be read has ended."""
        outcomes = [BlockingIOError, b"line\n", OSError]
        with mock.patch("os.read", side_effect=outcomes), mock.patch("select.select") as waiting:
            self.assertEqual(_streams._read(0), b"line\n")
            waiting.assert_called_once_with([0], [], [])
            self.assertEqual(_streams._read(0), b"")

    def test_mistake_of_ours(self) -> None:
        """An exception that nobody has foreseen is shown, and is the exit code."""
        errors = io.StringIO()
        with mock.patch("sys.stderr", errors):
            output = _streams.Output(None, self.fail)
            code = root._exit_code([Failure(ZeroDivisionError())], output)
        self.assertEqual(code, 1)
        self.assertIn("ZeroDivisionError", errors.getvalue())


class OptionsTests(ProcessCase):
    """The command line."""

    def test_dir(self) -> None:
        """--dir names the client's folder."""
        inner = self.folder / "inner"
        inner.mkdir()
        (inner / "me.info").write_bytes(b"")
        finished = self.run_with("--dir", "inner", input=b"110\n")
        self.assertIn(b"error: you are registered already, me.info exists\n", finished.stdout)

    def test_dir_that_is_none(self) -> None:
        """A folder that is not there is one line, and an exit code."""
        finished = self.run_with("--dir", "nowhere", input=b"")
        self.assertEqual(finished.returncode, 2)
        self.assertTrue(finished.stderr.endswith(b"make it first, with: mkdir -m 700 nowhere\n"))

    def test_help_and_version(self) -> None:
        """--help explains the option and the files; --version says which one this is."""
        finished = self.run_with("--help")
        self.assertEqual(finished.returncode, 0)
        for word in (b"--dir", b"server.info", b"me.info", b"me.keys"):
            self.assertIn(word, finished.stdout)
        self.assertEqual(self.run_with("--version").stdout, f"messageu {__version__}\n".encode())


class TerminalTests(ProcessCase):
    """At a pseudo-terminal."""

    def open(self) -> tuple[subprocess.Popen[bytes], int]:
        """Start the program at a terminal of its own, and see the menu."""
        terminal, slave = pty.openpty()
        self.addCleanup(os.close, terminal)
        # The terminal that the leader of a session opens becomes the one that controls it.
        name = os.ttyname(slave)
        program = subprocess.Popen(
            ["sh", "-c", f'exec "$@" <{name} >{name} 2>&1', "sh", *COMMAND],
            cwd=self.folder,
            start_new_session=True,
        )
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        self.assertEqual(self.menu(terminal), MENU)
        os.close(slave)
        return program, terminal

    def read_until(self, terminal: int, enough: Callable[[str], bool]) -> str:
        """What is printed, until it is enough, or until the terminal is closed."""
        printed = bytearray()
        while not enough(printed.decode("utf-8", "replace")):
            readable, _, _ = select.select([terminal], [], [], DEADLINE)
            self.assertTrue(readable, f"nothing comes after {printed!r}")
            try:
                printed += os.read(terminal, 4096)
            except OSError:  # nobody has it open any more
                break
        return printed.decode("utf-8", "replace").replace("\r\n", "\n")

    def menu(self, terminal: int) -> str:
        """What is printed, until the menu is there."""
        return self.read_until(terminal, lambda printed: printed.endswith("?\r\n"))

    def rest(self, terminal: int) -> str:
        """What is printed until the end."""
        return self.read_until(terminal, lambda _: False)

    def test_conversation(self) -> None:
        """Choices are typed, and 0 ends it."""
        program, terminal = self.open()
        os.write(terminal, b"42\n")
        printed = self.menu(terminal)
        self.assertEqual(printed, f"42\nthere is no such entry: 42\n{MENU}")
        os.write(terminal, b"0\n")
        self.assertEqual(self.rest(terminal), "0\n")
        self.assertEqual(program.wait(DEADLINE), 0)

    def test_end_of_file(self) -> None:
        """Ctrl-D ends it."""
        program, terminal = self.open()
        os.write(terminal, b"\x04")
        self.assertEqual(self.rest(terminal).strip(), "")
        self.assertEqual(program.wait(DEADLINE), 0)

    def test_interrupt(self) -> None:
        """Ctrl-C ends it, without a traceback, and the prompt after it begins a line."""
        program, terminal = self.open()
        os.write(terminal, b"\x03")
        self.assertEqual(self.rest(terminal), "^C\n")
        self.assertEqual(program.wait(DEADLINE), 130)

    def test_interrupt_while_relay_is_silent(self) -> None:
        """Ctrl-C ends it while a relay is waited for, too."""
        listening = self.listen()
        program, terminal = self.open()
        os.write(terminal, b"120\n")
        relay, _ = listening.accept()
        with relay:
            relay.recv(1000)
            os.write(terminal, b"\x03")
            self.assertEqual(self.rest(terminal), "120\n^C\n")
            self.assertEqual(program.wait(DEADLINE), 130)

    def test_termination(self) -> None:
        """SIGTERM ends it, without a traceback."""
        program, terminal = self.open()
        program.send_signal(signal.SIGTERM)
        self.assertEqual(self.rest(terminal).strip(), "")
        self.assertEqual(program.wait(DEADLINE), 130)

    def test_terminal_stays_as_it_was(self) -> None:
        """The terminal is left as others expect it: reading from it waits."""
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        self.addCleanup(os.close, slave)
        before = termios.tcgetattr(slave)
        os.write(master, b"0\n")
        finished = subprocess.run(
            COMMAND, cwd=self.folder, stdin=slave, stdout=slave, check=False, timeout=DEADLINE
        )
        self.assertEqual(finished.returncode, 0)
        self.assertTrue(os.get_blocking(slave))
        self.assertEqual(termios.tcgetattr(slave), before)
