"""The program as a process, with a relay that means harm at the other end of a socket."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import subprocess
import time
import unicodedata
from pathlib import Path

from messageu.cli import MENU
from messageu.client import Keyring
from messageu.crypto.v2 import SymmetricKey, wrap
from messageu.model import ClientId, ListedClient, MessageId
from messageu.wire import v2

from ..client.hostile import ESCAPES, FORGED, SIZE_LIMIT, frame, item, listed
from ..client.relay import ANNA, BERN, KEY
from ..torture import report, scaled
from .test_main import COMMAND, DEADLINE, ProcessCase

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
MIB = 2**20


class HostileCase(ProcessCase):
    """anna's program, and a relay that the test plays."""

    def setUp(self) -> None:
        super().setUp()
        self.listening = self.listen()
        ring = Keyring(ANNA.client_id, relay_version=2)
        ring.learn_name(ListedClient(BERN.client_id, BERN.name))
        ring.share(BERN.client_id, KEY)
        (self.folder / "me.keys").write_bytes(ring.encode())
        self.program = subprocess.Popen(
            COMMAND, cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.addCleanup(self.program.stdout.close)
        self.addCleanup(self.program.wait)
        self.addCleanup(self.program.kill)
        self.addCleanup(self.program.stdin.close)
        self.assertEqual(self.read_menu(), "")

    def type(self, line: str) -> None:
        """Type a line."""
        self.program.stdin.write(line.encode() + b"\n")
        self.program.stdin.flush()

    def read_menu(self) -> str:
        """What is printed until the menu is there."""
        printed = bytearray()
        while not printed.endswith(MENU.encode("ascii")):
            ready, _, _ = select.select([self.program.stdout], [], [], DEADLINE)
            self.assertTrue(ready, f"nothing comes after {bytes(printed[-200:])!r}")
            data = self.program.stdout.read1()
            self.assertTrue(data, "the program has ended")
            printed += data
        return printed.decode("utf-8").replace(MENU, "")

    def accept(self) -> socket.socket:
        """The program connects."""
        relay, _ = self.listening.accept()
        relay.settimeout(DEADLINE)
        self.addCleanup(relay.close)
        return relay

    def assert_harmless(self, printed: str) -> None:
        """Nothing of it moves a cursor or hides."""
        for character in set(printed) - {"\n", "\t"}:
            self.assertNotIn(unicodedata.category(character), HIDDEN)

    def assert_goes_on(self) -> None:
        """The next entry works, with a relay that is honest."""
        self.type("120")
        with self.accept() as relay:
            self.assertTrue(relay.recv(1000))
            relay.sendall(v2.ClientsList((ListedClient(BERN.client_id, b"bern"),)).encode())
            self.assertEqual(self.read_menu(), "bern\n")


class HostileProcessTests(HostileCase):
    """What it says, and what becomes of the program."""

    def test_nonsense(self) -> None:
        """Whatever is said instead of an answer is a line, and the next entry works."""
        for choice, said, words in (
            ("120", ESCAPES * 10, "makes no sense"),
            ("120", frame(2104, item(KEY.seal(FORGED))), "makes no sense"),
            ("120", frame(2101, listed(ESCAPES)[:-1], 271), "in the middle of its answer"),
            ("140", frame(2104, item(b"x", size=SIZE_LIMIT)), "makes no sense"),
            ("120", b"", "without an answer"),
        ):
            self.type(choice)
            with self.accept() as relay:
                self.assertTrue(relay.recv(1000))
                relay.sendall(said)
                with contextlib.suppress(OSError):  # the client may have hung up already
                    relay.shutdown(socket.SHUT_WR)
                if not said:  # it is asked once more, on another connection
                    relay.close()
                printed = self.read_menu()
            self.assertIn(words, printed)
            self.assertEqual(printed.count("\n"), 1)
            self.assert_harmless(printed)
            self.assert_goes_on()

    def test_unasked(self) -> None:
        """What was not asked for spoils the connection, and not what is asked next."""
        self.type("120")
        with self.accept() as relay:
            self.assertTrue(relay.recv(1000))
            answer = v2.ClientsList((ListedClient(BERN.client_id, b"bern"),)).encode()
            relay.sendall(answer + v2.ClientsList(()).encode())
            self.assertEqual(self.read_menu(), "bern\n")
        self.assert_goes_on()

    def test_terminal(self) -> None:
        """Names and texts that hold escapes are shown, and do nothing."""
        texts = (ESCAPES, FORGED, b" " * 400 + FORGED, bytes(range(256)))
        self.type("140")
        with self.accept() as relay:
            self.assertTrue(relay.recv(1000))
            relay.sendall(frame(2104, b"".join(item(KEY.seal(text)) for text in texts)))
            self.assertTrue(relay.recv(1000))
            relay.sendall(frame(2104))
            printed = self.read_menu()
        self.assert_harmless(printed)
        self.assertEqual(len(re.findall("^From: ", printed, re.MULTILINE)), len(texts))
        self.assertEqual(len(re.findall("^-----<EOM>-----$", printed, re.MULTILINE)), len(texts))
        self.assert_goes_on()

    def test_list_without_end(self) -> None:
        """A list that goes on and on takes no more memory than what of it is kept may have."""
        sent = scaled(40, 256) * MIB
        before = self.peak()
        piece = b"".join(listed(b"n" * 254, _numbered(number)) for number in range(4000))
        self.type("120")
        began = time.monotonic()
        with self.accept() as relay:
            self.assertTrue(relay.recv(1000))
            relay.sendall(frame(2101, b"", SIZE_LIMIT // 271 * 271))
            for _ in range(sent // len(piece)):
                relay.sendall(piece)
        printed = self.read_menu()
        grown = self.peak() - before
        self.assertIn("in the middle of its answer", printed)
        self.assertLess(grown, 56 * MIB)
        report(
            "a list without end",
            sent_mib=sent // MIB,
            grown_mib=grown // MIB,
            seconds=round(time.monotonic() - began, 1),
        )
        self.assert_goes_on()

    def peak(self) -> int:
        """The most memory that the program has had, in bytes."""
        status = Path(f"/proc/{self.program.pid}/status").read_text("ascii")
        return int(re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)[1]) * 1024


def _numbered(number: int) -> ClientId:
    return ClientId(number.to_bytes(16, "big"))


class TwoProgramsTests(HostileCase):
    """anna has two terminals open."""

    def test_key_of_one_serves_the_other(self) -> None:
        """A key that came to another program in the same folder is used by the one that has been
        there before."""
        key = SymmetricKey(b"a newer one for2")
        self.assert_goes_on()
        sealed = wrap(ANNA.private_key.public_key, key)
        other = subprocess.Popen(
            COMMAND, cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        other.stdin.write(b"140\n0\n")
        other.stdin.close()
        with self.accept() as relay:
            self.assertTrue(relay.recv(1000))
            relay.sendall(frame(2104, item(sealed, kind=2)))
            self.assertTrue(relay.recv(1000))
            relay.sendall(frame(2104))
            self.assertIn(b"symmetric key received", other.stdout.read())
        other.stdout.close()
        self.assertEqual(other.wait(DEADLINE), 0)
        for line in ("150", "bern", "hello"):
            self.type(line)
        with self.accept() as relay:
            request = relay.recv(1000)
            relay.sendall(v2.Stored(BERN.client_id, MessageId(1)).encode())
            self.assertTrue(self.read_menu().endswith("sent\n"))
        self.assertTrue(request.endswith(key.seal(b"hello")))
