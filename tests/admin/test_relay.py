"""The operator's command, and relays that do not do what they should."""

from __future__ import annotations

import io
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from messageu.admin import RelayGone, RelayUnreachable, _relay, ask
from messageu.admin.__main__ import Exit, main
from messageu.server import (
    LINE_LIMIT,
    Advance,
    Answer,
    BackupRequest,
    ControlError,
    Done,
    Failed,
    StatusRequest,
    Value,
    socket_address,
)
from tests.sockets.client import PATIENCE


class Terminal(io.StringIO):
    """A text that says of itself that it is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


class RelayTestCase(SynchronousTestCase):
    """Tests with a socket at whose other end a thread says what it is told to."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "control"
        self.heard = b""

    @contextmanager
    def relay(self, said: bytes, *, stays: bool = False) -> Iterator[None]:
        """Somebody who reads a line, says this, and goes, or stays until all is over."""
        folder = os.open(self.folder, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(socket_address(folder, self.path.name))
            listener.listen()
            listener.settimeout(PATIENCE)

            def serve() -> None:
                connection, _ = listener.accept()
                connection.settimeout(PATIENCE)
                with connection, connection.makefile("rb") as lines:
                    self.heard = lines.readline()
                    connection.sendall(said)
                    if stays:
                        lines.read()

            thread = Thread(target=serve)
            thread.start()
            try:
                yield
            finally:
                thread.join(PATIENCE)
                os.close(folder)
                self.path.unlink()


class AskTests(RelayTestCase):
    """Asking."""

    def ask(self, said: bytes) -> list[Answer]:
        """What comes of it when the relay says this."""
        with self.relay(said):
            return list(ask(self.path, StatusRequest()))

    def test_answers(self) -> None:
        """All answers come, up to the last one."""
        self.assertEqual(self.ask(b"value a b\ndone 0\n"), [Value("a", "b"), Done(0)])
        self.assertEqual(self.ask(b"progress 1 2\nerror no\nx\n"), [Advance(1, 2), Failed("no")])
        self.assertEqual(self.heard, b"status\n")

    def test_gone(self) -> None:
        """A relay that ends before it is done has not done it."""
        for said in (b"", b"progress 1 2\n"):
            self.assertRaises(RelayGone, self.ask, said)

    def test_silent(self) -> None:
        """Nobody waits for ever for a relay that says nothing."""
        self.patch(_relay, "PATIENCE", 0.01)
        with self.relay(b"", stays=True):
            self.assertRaises(RelayGone, next, ask(self.path, StatusRequest()))

    def test_nonsense(self) -> None:
        """What is no answer, or a line that is cut off or never ends, is said to be that."""
        for said in (b"hello\n", b"done", b"done " + b"1" * LINE_LIMIT):
            self.assertRaises(ControlError, self.ask, said)

    def test_unreachable(self) -> None:
        """Without a relay, a socket or a folder that is what is said."""
        self.assertRaises(RelayUnreachable, next, ask(self.path, StatusRequest()))
        with self.relay(b"done 0\n"):
            list(ask(self.path, StatusRequest()))
        no_folder = self.folder / "no" / "control"
        self.assertRaises(RelayUnreachable, next, ask(no_folder, StatusRequest()))

    def test_cannot_be_asked(self) -> None:
        """A path that no line can hold is not sent."""
        self.assertRaises(ControlError, next, ask(self.path, BackupRequest(Path("/a\nb"))))


class MainTests(RelayTestCase):
    """The command as a function."""

    def run_main(self, *words: str) -> tuple[int, str, str]:
        """Run it: the exit code, and what it prints and complains of."""
        output, errors = io.StringIO(), Terminal()
        with redirect_stdout(output), redirect_stderr(errors):
            code = main(["--control", str(self.path), *words])
        return code, output.getvalue(), errors.getvalue()

    def test_progress(self) -> None:
        """On a terminal it tells how far a backup is. What the relay says is an escaped line."""
        with self.relay(b"progress 0 0\nprogress 1 3\nerror a \xff\n"):
            code, output, errors = self.run_main("backup", "x")
        self.assertEqual((code, output), (Exit.FAILED, ""))
        self.assertEqual(errors.split("\r")[1::2], ["0 %", "33 %"])
        self.assertTrue(errors.endswith("messageu-admin: a \ufffd\n"))
        self.assertEqual(self.heard, b"backup " + os.fsencode(Path("x").absolute()) + b"\n")

    def test_hostile_name(self) -> None:
        """A name that somebody has chosen does nothing to a terminal."""
        with self.relay("value user 0101 \x1b[2J\u202egood\ndone 0\n".encode()):
            code, output, _ = self.run_main("users", "--names", "v2")
        self.assertEqual((code, output), (Exit.DONE, "0101 \\x1b[2J\\u202egood\n"))

    def test_copy_that_is_not_sound(self) -> None:
        """That the relay says it is done is not enough: the copy is read."""
        copy = self.folder / "copy"
        copy.write_bytes(b"text" * 1000)
        with self.relay(b"done 4000\n"):
            code, output, errors = self.run_main("backup", str(copy))
        self.assertEqual((code, output), (Exit.FAILED, ""))
        self.assertIn("not an SQLite database", errors)

    def test_codes(self) -> None:
        """Each way to end has its code."""
        self.assertEqual(self.run_main("status")[0], Exit.UNREACHABLE)
        self.assertEqual(self.run_main("check", str(self.folder))[0], Exit.FAILED)
        self.assertEqual(self.assertRaises(SystemExit, self.run_main).code, Exit.USAGE)

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        self.patch(sys.modules[main.__module__], "ask", interrupt)
        self.assertEqual(self.run_main("status")[0], Exit.INTERRUPTED)
