"""How a relay starts, in each of the ways in which it can be started, and how it does not."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from messageu.tap import DEFAULT_PORT, Options, limits_table
from tests.sockets.client import fetch, message, messages_in, wait_until

from .children import ANY_PORT, COMMANDS, ProcessTestCase, Relay


class GoodStartTests(ProcessTestCase):
    """Relays that start."""

    def check_service(self, relay: Relay) -> None:
        """It registers, stores and hands out."""
        client = relay.dial()
        anna = client.register(b"anna")
        client.ask(message(anna, anna, b"sealed"))
        (waiting,) = messages_in(client.ask(fetch(anna)))
        self.assertEqual(waiting.content, b"sealed")
        client.close()

    def test_foreground(self) -> None:
        """twistd in the foreground and twist serve, say so, and end with SIGTERM by its status;
        nothing stays but the database and its lock."""
        for way in ("twistd", "twist"):
            relay = self.start(*ANY_PORT, "-d", f"{way}.db", way=way)
            self.check_service(relay)
            self.assertEqual(relay.stop(), -signal.SIGTERM, relay.log)
            self.assertIn("the relay has stopped", relay.log)
            self.assertNotIn("Traceback", relay.log)
            files = {path.name for path in self.folder.iterdir() if path.match(f"{way}.*")}
            self.assertEqual(files, {f"{way}.db", f"{way}.db.lock"})

    def test_daemon(self) -> None:
        """As a daemon it serves when its parent has ended, and SIGTERM ends it."""
        relay = self.start_daemon(*ANY_PORT)
        self.check_service(relay)
        os.kill(relay.pid, signal.SIGTERM)
        wait_until(lambda: "Server Shut Down." in relay.log, "the daemon has stopped")
        wait_until(lambda: not (self.folder / "relay.pid").exists(), "its pid file is gone")
        self.assertNotIn("Traceback", relay.log)

    def test_v3(self) -> None:
        """With v3 its log says what clients are given; the certificate is its owner's alone, and
        the same after the next start."""
        options = (*ANY_PORT, "--v3", "tcp:0:interface=127.0.0.1")
        addresses = []
        for way in ("twistd", "twist"):
            relay = self.start(*options, way=way)
            addresses += relay.v3_addresses
            relay.stop()
        pins = {address.partition("#")[2] for address in addresses}
        self.assertEqual((len(addresses), len(pins)), (2, 1))
        self.assertRegex(addresses[0], r"^messageu://127\.0\.0\.1:\d+#[\w-]{43}$")
        mode = (self.folder / "defensive.db.tls.pem").stat().st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o600)

    def test_several_endpoints(self) -> None:
        """Each endpoint leads to the same mailboxes."""
        relay = self.start(*ANY_PORT, *ANY_PORT)
        self.assertEqual(len(set(relay.ports)), 2)
        first = relay.dial()
        anna = first.register(b"anna")
        first.ask(message(anna, anna, b"sealed"))
        first.close()
        relay.ports.reverse()
        second = relay.dial()
        self.assertEqual(len(second.fetch_all(anna)), 1)
        second.close()

    def start_with_port(self, name: str, *options: str, rundir: str = ".") -> int:
        """Start a relay with a free port in a file; that port."""
        with socket.socket() as finder:
            finder.bind(("", 0))
            port: int = finder.getsockname()[1]
        (self.folder / name).write_text(f"{port}\n", "ascii")
        before = ("--rundir", rundir)
        try:
            relay = self.start(*options, before=before)
        except RuntimeError as error:
            if "Address already in use" not in str(error):
                raise
            return self.start_with_port(name, *options, rundir=rundir)
        self.assertEqual(relay.ports, [port])
        self.check_service(relay)
        return port

    def test_defaults(self) -> None:
        """Without options the port is that of myport.info, and the database defensive.db, which
        nobody else can read."""
        self.start_with_port("myport.info")
        mode = (self.folder / "defensive.db").stat().st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o600)

    def test_relative_paths(self) -> None:
        """Paths are meant from where the command is given, also with --rundir."""
        (self.folder / "elsewhere").mkdir()
        self.start_with_port("port", "--port-file=port", "--database=mail.db", rundir="elsewhere")
        self.assertTrue((self.folder / "mail.db").exists())
        self.assertEqual(list((self.folder / "elsewhere").iterdir()), [])

    def test_no_port_in_file(self) -> None:
        """A port file that is missing or holds no port is warned about, and the port is 1357."""
        (self.folder / "bad").write_text("none\n", "ascii")
        for name, reason in (("myport.info", "there is no such file"), ("bad", "it holds no port")):
            relay = self.start_or_skip("--port-file", name)
            self.assertEqual(relay.ports, [DEFAULT_PORT])
            self.assertRegex(relay.log, f"#warn.*{name}: {reason}; the port is {DEFAULT_PORT}\n")
            relay.stop()


HELP = r"\(--help explains the options\)"


@frozen
class BadStart:
    """A start that must fail.

    :ivar line: what is said about it, as a regular expression.
    :ivar usage: whether the options are wrong, which is seen before a daemon is made.
    """

    options: tuple[str, ...]
    line: str
    usage: bool = False


class BadStartTests(ProcessTestCase):
    """Relays that cannot start: one clear line, no traceback, and a status other than 0."""

    def bad_starts(self) -> Iterator[BadStart]:
        """Every one of them, to be tried while it is prepared."""
        folder = re.escape(str(self.folder))
        (self.folder / "text.db").write_bytes(b"this is text")
        yield BadStart(
            (*ANY_PORT, "-d", "text.db"), f"{folder}/text.db: this is not an SQLite database"
        )
        yield BadStart(
            (*ANY_PORT, "-d", "missing/mail.db"),
            f"{folder}/missing/mail.db: there is no folder {folder}/missing",
        )
        with socket.create_server(("127.0.0.1", 0)) as listener:
            endpoint = f"tcp:{listener.getsockname()[1]}:interface=127.0.0.1"
            yield BadStart(("-e", endpoint), f"cannot listen on {endpoint}: .*already in use")
            yield BadStart(
                (*ANY_PORT, "--v3", endpoint),
                f"cannot listen on v3 on {endpoint}: .*already in use",
            )
        for mode, line in (
            (0o600, "it does not hold a key and its certificate"),
            (0o640, "others than its owner may read it, or more"),
        ):
            (self.folder / "own.pem").write_bytes(b"none")
            (self.folder / "own.pem").chmod(mode)
            yield BadStart(
                (*ANY_PORT, "--v3", ANY_PORT[1], "--v3-certificate", "own.pem"),
                f"the certificate {folder}/own.pem cannot be used: {line}",
            )
        yield BadStart(
            ("-e", "tpc:1357"), f"'tpc:1357' is not an endpoint: .*'tpc' {HELP}", usage=True
        )
        yield BadStart(
            ("-e", "tcp:http"), f"'tcp:http' is not an endpoint: .*'http' {HELP}", usage=True
        )
        days = f"--expire-after wants a number of days above 0 {HELP}"
        yield BadStart(("--expire-after", "0"), days, usage=True)
        line = f"--limit: connections=0 is out of range: 1 to 1000000 {HELP}"
        yield BadStart(("--limit", "connections=0"), line, usage=True)

    def check(self, way: str, bad: BadStart) -> None:
        """A start in this way fails as it should."""
        finished = self.run_to_end(self.command(way, *bad.options))
        self.assertNotEqual(finished.returncode, 0)
        self.assertNotIn("Traceback", finished.stdout + finished.stderr)
        first, _, others = finished.stderr.partition("\n")
        self.assertRegex(first, f"^messageu: {bad.line}$")
        if way == "daemon" and not bad.usage:  # whose parent has to say something as well
            self.assertRegex(others, "^An error has occurred: .*\nPlease look at log file.*\n$")
            self.assertRegex((self.folder / "relay.log").read_text("utf-8"), bad.line)
            self.assertFalse((self.folder / "relay.pid").exists())
        else:
            self.assertEqual(others, "")

    def check_all(self, way: str) -> None:
        """Each bad start fails in this way, and leaves what is there as it was."""
        for bad in self.bad_starts():
            self.check(way, bad)
        self.assertEqual((self.folder / "text.db").read_bytes(), b"this is text")
        self.assertFalse((self.folder / "missing").exists())

    def test_twistd(self) -> None:
        """In the foreground."""
        self.check_all("twistd")

    def test_twist(self) -> None:
        """Under twist."""
        self.check_all("twist")

    def test_daemon(self) -> None:
        """As a daemon: the parent reports it, and does not hang."""
        self.check_all("daemon")

    def test_second_server(self) -> None:
        """A second relay on the same database is refused, and the first does not notice."""
        relay = self.start(*ANY_PORT)
        client = relay.dial()
        anna = client.register(b"anna")
        for way in COMMANDS:
            line = ".*/defensive.db: another server is using this database"
            self.check(way, BadStart(ANY_PORT, line))
        self.assertEqual(client.ask(message(anna, anna, b"sealed")).code, 2103)
        client.close()


class HelpTests(ProcessTestCase):
    """What --help says."""

    def test_every_option_is_explained(self) -> None:
        """Both commands explain every option of the relay."""
        names = {name.rstrip("=") for name in Options().longOpt} - {"help", "version"}
        for program in ("twistd", "twist"):
            path = Path(self.command("twistd")[0]).with_name(program)
            finished = self.run_to_end([str(path), "messageu", "--help"])
            self.assertEqual((finished.returncode, finished.stderr), (0, ""))
            for name in names:
                self.assertRegex(finished.stdout, f"(?m)^ .*--{name}=?  +[A-Z]")
            self.assertNotRegex(finished.stdout, r"\w  +\w.*\w  +\w")

    def test_limits(self) -> None:
        """Both commands list the limits with --limits, and end well."""
        for way in ("twistd", "twist"):
            finished = self.run_to_end(self.command(way, "--limits"))
            self.assertEqual((finished.returncode, finished.stderr), (0, ""))
            self.assertEqual(finished.stdout, f"{limits_table()}\n")
