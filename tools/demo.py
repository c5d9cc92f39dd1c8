"""Show that it works: a relay under twistd, clients of v2 at the menu and of v3 by commands, files,
restarts, and processes that are killed.

Everything is real: the processes, the port, the database, what is typed. All of it happens in a
scratch folder, which is removed at the end, or kept and named if something was not as it should be.
"""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tty
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, Queue
from threading import Lock, Thread
from typing import IO, cast

BIN = Path(sys.executable).parent
PATIENCE = 60.0
"""Seconds that anything may take on a slow machine."""

FILE_SIZE = 5 * 1024 * 1024 + 13
LARGE_SIZE = 100 * 2**20
PROMPT = "?\n"
BAR_STEP = 10
"""Per cent between two states of a bar that are printed, where no terminal is."""


class NotShownError(Exception):
    """Something was not as it should be; the text says what."""


def main() -> int:
    """Run the demonstration; the exit status."""
    scratch = Path(tempfile.mkdtemp(prefix="messageu-demo-"))
    relay = Relay(scratch / "relay", free_port())
    clients: list[Client] = []
    profiles = [Profile(scratch / name, name) for name in ("carl", "dora")]
    try:
        relay.start()
        clients.extend(Client(scratch / name, name, relay.port) for name in ("anna", "bern"))
        demonstrate(relay, clients[0], clients[1], scratch)
        for client in clients:
            client.leave()
        say("", "now MessageU v3: TLS, ratchets, links and safety numbers")
        demonstrate_v3(relay, profiles, scratch)
        relay.stop()
    except NotShownError as error:
        print(f"\nNOT SHOWN: {error}\nThe folder is kept: {scratch}")
        return 1
    finally:
        for client in clients:
            client.kill()
        for profile in profiles:
            profile.kill()
        relay.kill()
    shutil.rmtree(scratch)
    print(
        "\nShown: two registered clients exchanged keys, texts and a file of "
        f"{FILE_SIZE / 2**20:.1f} MiB that arrived identical, and mail outlived its relay's restart.\n"
        "Shown: two profiles of v3 added each other, compared safety numbers, and exchanged texts with "
        f"receipts and a file of {LARGE_SIZE // 2**20} MiB, each exactly once, while sender, "
        "recipient and relay were killed."
    )
    return 0


def demonstrate(relay: Relay, anna: Client, bern: Client, scratch: Path) -> None:
    """Everything that the menu has, from both sides."""
    for client in (anna, bern):
        client.choose("110", client.name, expect=f"registered as {client.name}")
    anna.choose("120", expect="bern")
    bern.choose("120", expect="anna")
    anna.choose("130", "bern", expect="the public key of bern")

    anna.choose("151", "bern", expect="sent")
    bern.choose("140", expect="From: anna\nContent:\nRequest for symmetric key\n-----<EOM>-----")
    bern.choose("152", "anna", expect="sent")
    anna.choose("140", expect="From: bern\nContent:\nsymmetric key received\n-----<EOM>-----")

    anna.choose("150", "bern", "Hello Bern, can you read this?", expect="sent")
    bern.choose("140", expect="From: anna\nContent:\nHello Bern, can you read this?\n-----<EOM>")
    bern.choose("150", "anna", "Every word. Send me the file.", expect="sent")
    anna.choose("140", expect="From: bern\nContent:\nEvery word. Send me the file.\n-----<EOM>")

    sent = scratch / "holiday.jpg"
    sent.write_bytes(secrets.token_bytes(FILE_SIZE))
    anna.choose("153", "bern", str(sent), expect="sent")
    seen = bern.choose("140", expect="From: anna\nContent:\n")
    received = Path(seen.partition("Content:\n")[2].partition("\n")[0])
    compare(sent, received)

    say("", "mail is left waiting, and the relay is stopped and started again")
    anna.choose("150", "bern", "Are you still there?", expect="sent")
    relay.stop()
    anna.choose("120", expect=f"127.0.0.1:{relay.port}")
    relay.start()
    bern.choose("140", expect="From: anna\nContent:\nAre you still there?\n-----<EOM>-----")
    bern.choose("140", expect="no messages are waiting")


def compare(sent: Path, received: Path) -> None:
    """Hold one file against the other, and remove the received one."""
    digests = []
    for path in (sent, received):
        try:
            digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
        except OSError as error:
            raise NotShownError(f"{path} cannot be read: {error.strerror}") from None
    say("", f"sent     sha256 {digests[0]}")
    say("", f"received sha256 {digests[1]}")
    mode = received.stat().st_mode & 0o777
    received.unlink()
    if digests[0] != digests[1]:
        raise NotShownError("the file did not arrive identical")
    if mode != 0o600:
        raise NotShownError(f"the received file has mode {mode:o}")


def demonstrate_v3(relay: Relay, profiles: Sequence[Profile], scratch: Path) -> None:
    """Two profiles: links, safety numbers, texts, a large file, and kill -9 for everybody."""
    carl, dora = profiles
    for profile in profiles:
        profile.run("register", relay.address, profile.name, expect=f"registered as {profile.name}")
    for one, other in ((carl, dora), (dora, carl)):
        one.run("add", other.run("link").strip(), "--label", other.name, expect="added")
    numbers = {
        tuple(one.run("verify", other, "--confirm").splitlines()[:3])
        for one, other in ((carl, "dora"), (dora, "carl"))
    }
    if len(numbers) != 1:
        raise NotShownError("the safety numbers differ")

    dora.follow()
    carl.run("send", "dora", "Hello Dora!", "--wait-delivered", expect="delivered")
    dora.kill()
    carl.follow()
    dora.run("send", "carl", "Hello Carl!", "--wait-delivered", expect="delivered")
    carl.kill()

    sent = scratch / "film.bin"
    sent.write_bytes(secrets.token_bytes(LARGE_SIZE))
    dora.follow()
    carl.watch("send-file", "dora", str(sent)).wait_for_bar(40)
    carl.kill()
    say("carl", "killed (-9) while he sends; he goes on from there")
    goes_on = carl.watch("inbox", "--follow")
    goes_on.wait_for_bar(70)
    dora.wait_for_part(LARGE_SIZE // 10)
    dora.kill()
    say("dora", "killed (-9) while she receives")
    relay.kill()
    say("relay", "killed (-9)")
    relay.start()
    dora.follow()
    received = dora.folder / "downloads" / sent.name
    wait_until(received.exists, "the file arrives")
    goes_on.wait_for_bar(100)
    goes_on.wait_for(f"delivered: {sent.name}")
    compare(sent, received)
    carl.kill()
    carl.run("send", "dora", "That was all.", "--wait-delivered", expect="delivered")
    dora.kill()
    carl.run("inbox", "--json")
    dora.run("inbox", "--json")
    carl.expect_once("Hello Carl!")
    dora.expect_once("Hello Dora!", "That was all.")


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Wait for something, and not for ever."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > deadline:
            raise NotShownError(f"it was to be seen that {what}")
        time.sleep(0.05)


class Profile:
    """A profile of v3 in a folder of its own, and the commands that are run there."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir()
        self.folder = folder
        self.name = name
        self._shown = folder / "shown.json"
        self._running: subprocess.Popen[bytes] | None = None
        self._screen: Screen | None = None

    def run(self, *arguments: str, expect: str = "") -> str:
        """Run a command to its end; what it shows, which must hold the expected."""
        say(self.name, f"$ messageu {' '.join(argument[:40] for argument in arguments)}")
        finished = subprocess.run(
            [BIN / "messageu", "--folder", self.folder, *arguments],
            check=False,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
        )
        seen = finished.stdout.decode("utf-8", "backslashreplace")
        for line in seen.splitlines():
            say(self.name, f"  {line}")
        if finished.returncode != 0 or expect not in seen:
            raise NotShownError(f"{self.name} was to see {expect!r}")
        if "--json" in arguments:
            with self._shown.open("a") as shown:
                shown.write(seen)
        return seen

    def follow(self) -> None:
        """Stay connected; what comes is kept."""
        with self._shown.open("ab") as shown:
            self._start(("inbox", "--follow", "--json"), shown.fileno(), subprocess.DEVNULL)

    def watch(self, *arguments: str) -> Screen:
        """Begin a command on a terminal, and show what is seen there."""
        self._screen = screen = Screen(self.name)
        self._start(arguments, screen.terminal, screen.terminal)
        screen.watch()
        return screen

    def kill(self) -> None:
        """Kill (-9) what was begun."""
        running, self._running = self._running, None
        if running is not None:
            running.kill()
            running.wait()
        screen, self._screen = self._screen, None
        if screen is not None:
            screen.end()

    def _start(self, arguments: Sequence[str], output: int, errors: int) -> None:
        say(self.name, f"$ messageu {' '.join(argument[:40] for argument in arguments)} &")
        self._running = subprocess.Popen(
            [BIN / "messageu", "--folder", self.folder, *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
        )

    def wait_for_part(self, size: int) -> None:
        """Wait until so many bytes of a file have come."""

        def has_come() -> bool:
            parts = (self.folder / "downloads").glob(".*.part")
            return any(part.stat().st_blocks * 512 >= size for part in parts)

        wait_until(has_come, f"{self.name} has {size // 2**20} MiB of the file")
        say(self.name, f"  {size // 2**20} MiB of the file have come")

    def expect_once(self, *texts: str) -> None:
        """These texts were shown, once each, and no others."""
        shown = [
            json.loads(line) for line in self._shown.read_text().splitlines() if line[:1] == "{"
        ]
        received = sorted(message["text"] for message in shown if message["kind"] == "text")
        if received != sorted(texts):
            raise NotShownError(f"{self.name} was shown {received!r}, not {sorted(texts)!r}")

    @property
    def _environment(self) -> dict[str, str]:
        plain = {} if sys.stdout.isatty() else {"NO_COLOR": "1"}  # a log wants no colours
        ours = {"PYTHONUNBUFFERED": "1", "MESSAGEU_PASSPHRASE": f"of {self.name}"}
        return os.environ | ours | plain


class Relay:
    """``twistd -n messageu`` in a folder of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        folder.mkdir()
        self.port = port
        self.v3_port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it can be reached."""
        with (self._folder / "relay.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(BIN / "twistd", "--nodaemon", "--pidfile=", "messageu"),
                    *("--endpoint", f"tcp:{self.port}:interface=127.0.0.1"),
                    *("--v3", f"tcp:{self.v3_port}:interface=127.0.0.1"),
                ],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                say("relay", f"listens on 127.0.0.1:{self.port}, with defensive.db")
                return
        raise NotShownError("the relay did not start: see relay.log")

    @property
    def address(self) -> str:
        """What clients of v3 are given."""
        log = self._folder / "relay.log"
        found: list[str] = []

        def is_told() -> bool:
            found.extend(re.findall(r"messageu://\S+", log.read_text()))
            return bool(found)

        wait_until(is_told, "the relay tells its address")
        return found[-1]

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise NotShownError("the relay did not stop") from None
        say("relay", "stopped")

    def kill(self) -> None:
        """Make sure that it is gone."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Client:
    """``messageu`` in a folder of its own, with somebody who types and reads."""

    def __init__(self, folder: Path, name: str, port: int) -> None:
        folder.mkdir()
        (folder / "server.info").write_text(f"127.0.0.1:{port}\n")
        self.name = name
        self._process = subprocess.Popen(
            [BIN / "messageu", "--dir", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "TMPDIR": str(folder)},
        )
        self._stdin = cast("IO[bytes]", self._process.stdin)
        self._stdout = cast("IO[bytes]", self._process.stdout)
        self._output: Queue[str] = Queue()
        Thread(target=self._collect, daemon=True).start()
        self._read_to_prompt()

    def choose(self, *typed: str, expect: str) -> str:
        """Type some lines; what is shown until the next prompt, which must hold the expected."""
        for line in typed:
            say(self.name, f"> {line}")
        try:
            self._stdin.write("".join(f"{line}\n" for line in typed).encode())
            self._stdin.flush()
        except OSError:
            raise NotShownError(f"{self.name}'s client is gone") from None
        seen = self._read_to_prompt()
        for line in seen.partition("MessageU client at your service.")[0].splitlines():
            say(self.name, f"  {line}")
        if expect not in seen:
            raise NotShownError(f"{self.name} was to see {expect!r}")
        return seen

    def leave(self) -> None:
        """Choose 0; it must end well."""
        self._stdin.write(b"0\n")
        self._stdin.close()
        if self._process.wait(PATIENCE) != 0:
            raise NotShownError(f"{self.name}'s client ended with {self._process.returncode}")

    def kill(self) -> None:
        """Make sure that it is gone."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _read_to_prompt(self) -> str:
        seen: list[str] = []
        while not seen or seen[-1] != PROMPT:
            try:
                seen.append(self._output.get(timeout=PATIENCE))
            except Empty:
                raise NotShownError(f"{self.name}'s client says nothing any more") from None
            if not seen[-1]:
                raise NotShownError(f"{self.name}'s client ended: {''.join(seen)}")
        return "".join(seen)

    def _collect(self) -> None:
        for line in self._stdout:
            self._output.put(line.decode("utf-8", "backslashreplace"))
        self._output.put("")


class Screen:
    """A pseudo-terminal, and what somebody sees on it: lines, and a bar that is drawn again and again.

    On a terminal of ours the bar is drawn as it is on that one; anywhere else some of its states are
    printed, a line each.

    :ivar terminal: what a program is given; it is ours until :meth:`watch`.
    """

    def __init__(self, who: str) -> None:
        self._who = who
        self._reading, self.terminal = pty.openpty()
        tty.setraw(self.terminal)
        self._thread = Thread(target=self._work, daemon=True)
        self._seen: list[str] = []
        self._line = ""
        self._printed = ""

    def watch(self) -> None:
        """Show what the program writes, which has been started by now."""
        os.close(self.terminal)
        self._thread.start()

    def wait_for(self, text: str) -> None:
        """Wait until something has been seen."""
        wait_until(
            lambda: any(text in line for line in self._seen), f"{self._who} is shown {text!r}"
        )

    def wait_for_bar(self, percent: int) -> None:
        """Wait until the bar has come so far."""
        wait_until(
            lambda: any(_percent_of(line) >= percent for line in self._seen),
            f"{self._who} has a bar of {percent} %",
        )

    def end(self) -> None:
        """The program is gone: show what it has shown last."""
        self._thread.join(PATIENCE)
        self._end_line()
        os.close(self._reading)

    def _work(self) -> None:
        while True:
            try:
                data = os.read(self._reading, 65_536)
            except OSError:  # nobody has the terminal any more
                return
            for part in re.split("([\r\n])", data.decode("utf-8", "replace")):
                self._see(part)

    def _see(self, part: str) -> None:
        if part == "\n":
            self._end_line()
        elif part == "\r":
            self._line = ""
        elif part:
            self._line += part
            if self._line.endswith(" %"):
                self._draw(self._line)

    def _end_line(self) -> None:
        line, self._line = self._line, ""
        if not line:
            return
        self._seen.append(line)
        if line.endswith(" %"):
            if line != self._printed:
                self._show_bar(line)
        else:
            say(self._who, f"  {line}")

    def _draw(self, line: str) -> None:
        self._seen.append(line)
        step, before = (_percent_of(bar) // BAR_STEP for bar in (line, self._printed))
        if sys.stdout.isatty() or step != before:
            self._show_bar(line)

    def _show_bar(self, line: str) -> None:
        self._printed = line
        say(self._who, f"  {line}", again=sys.stdout.isatty())


def _percent_of(line: str) -> int:
    """How far a bar has come; -1: it is none."""
    found = re.search(r"(\d+) %\Z", line)
    return -1 if found is None else int(found[1])


_printing = Lock()
_drawn: list[str] = []
"""Whose bar stands in the last line of our terminal, which has no end yet."""


def say(who: str, line: str, *, again: bool = False) -> None:
    """Print what somebody types or sees; ``again``: in the place of what was printed so before."""
    with _printing:
        if _drawn and not (again and _drawn == [who]):
            print()
        begin, end = ("\r", "") if again else ("", "\n")
        print(f"{begin}{who:>5} | {line}", end=end, flush=True)
        _drawn[:] = [who] if again else []


def free_port() -> int:
    """A port on the loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
