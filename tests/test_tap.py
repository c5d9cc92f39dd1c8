"""The options of the plugin, and the service that they describe."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from twisted.internet.address import IPv4Address
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from messageu.model.v3 import Registration
from messageu.server import LIMITS, LimitSettings, RelayService, read_limits
from messageu.tap import DEFAULT_PORT, Options, makeService, read_port


class OptionTests(SynchronousTestCase):
    """What can be said on the command line."""

    def parse(self, *words: str) -> Options:
        """The options that these words make."""
        options = Options()
        options.parseOptions(words)
        return options

    def test_defaults(self) -> None:
        """Without options there is a port file, a database, and nothing expires."""
        options = self.parse()
        self.assertEqual(options["port-file"], "myport.info")
        self.assertEqual(options["database"], "defensive.db")
        self.assertIsNone(options["expire-after"])
        self.assertEqual(options["endpoint"], [])

    def test_endpoints(self) -> None:
        """Endpoints are kept in the order in which they are given."""
        options = self.parse("--endpoint", "tcp:1", "-e", "tcp:2")
        self.assertEqual(options["endpoint"], ["tcp:1", "tcp:2"])

    def test_expire_after(self) -> None:
        """A number of days above zero, and nothing else."""
        self.assertEqual(self.parse("--expire-after", "0.5")["expire-after"], 0.5)
        for days in ("0", "-1", "soon", "nan", "inf"):
            self.assertRaises(SystemExit, self.parse, "--expire-after", days)

    def test_control(self) -> None:
        """The control socket can be elsewhere or nowhere, but not both."""
        self.assertIsNone(self.parse()["control"])
        self.assertEqual(self.parse("--control", "here")["control"], "here")
        self.assertTrue(self.parse("--no-control")["no-control"])
        self.assertRaises(SystemExit, self.parse, "--no-control", "--control", "here")

    def test_limit(self) -> None:
        """Limits are set one by one, and the others are the defaults."""
        self.assertEqual(self.parse()["settings"], LimitSettings())
        self.assertEqual(
            self.parse("--limit", "connections=7", "--limit=chunk=1KiB")["settings"],
            LimitSettings(connections=7, chunk=1024),
        )

    def test_bad_limit(self) -> None:
        """A limit that cannot be so is an error of usage, in one line."""
        end = self.assertRaises(SystemExit, self.parse, "--limit", "streams=1000")
        self.assertEqual(
            end.code,
            "messageu: --limit: streams=1000 pieces of chunk=64KiB do not fit into "
            "output_bytes=32MiB (--help explains the options)",
        )

    def test_list_of_limits(self) -> None:
        """--limits prints each limit as --limit takes it, and ends well."""
        with redirect_stdout(StringIO()) as printed:
            end = self.assertRaises(SystemExit, self.parse, "--limits")
        self.assertEqual(end.code, 0)
        lines = printed.getvalue().splitlines()
        words = [line.split()[0] for line in lines if not line.startswith(" ")]
        self.assertEqual([word.split("=")[0] for word in words], list(LIMITS))
        self.assertEqual(read_limits(words), LimitSettings())
        self.assertLessEqual(max(map(len, lines)), 80)

    def test_nothing_else(self) -> None:
        """Words that mean nothing are refused."""
        self.assertRaises(SystemExit, self.parse, "--enpoint", "tcp:1")
        self.assertRaises(SystemExit, self.parse, "now")


class MakeServiceTests(SynchronousTestCase):
    """The composition of a relay."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.reactor = MemoryReactorClock()
        self.options = Options()

    def start(self, *words: str) -> list[int]:
        """The ports on which a relay with such options listens."""
        words = words if "--v3" in words or "--no-v2" in words else (*words, "--no-v3")
        self.options.parseOptions(["--database", str(self.folder / "defensive.db"), *words])
        service = makeService(self.options, self.reactor)
        self.assertEqual(list(self.folder.glob("*.db*")), [])
        service.privilegedStartService()
        return [server[0] for server in self.reactor.tcpServers]

    def test_port_file(self) -> None:
        """Without an endpoint it listens on the port of the port file."""
        (self.folder / "port").write_text("4711\n")
        self.assertEqual(self.start("--port-file", str(self.folder / "port")), [4711])

    def test_many_at_once(self) -> None:
        """Without an endpoint, a thousand connections may wait until they are accepted."""
        self.start("--port-file", str(self.folder / "port"))
        self.assertEqual([backlog for _, _, backlog, _ in self.reactor.tcpServers], [1024])

    def test_endpoints(self) -> None:
        """With endpoints it listens on them, and does not look for a port file."""
        self.assertEqual(self.start("-e", "tcp:1", "-e", "tcp:2:interface=127.0.0.1"), [1, 2])

    def test_limits(self) -> None:
        """The relay's limits are those of the options."""
        self.options.parseOptions(["-e", "tcp:1", "--limit", "connections=7"])
        service = makeService(self.options, self.reactor)
        self.assertEqual(service.limits.connection_limit, 7)

    def test_mailboxes(self) -> None:
        """What a mailbox may hold, a client's of v2 and an account's of v3, is what the options say."""
        words = ["--limit", "mailbox_messages=7", "--limit", "mailbox_bytes=1GiB"]
        self.options.parseOptions(["-e", "tcp:1", *words])
        store = makeService(self.options, self.reactor)._store
        for quota in (store._quota, store.accounts._quota):
            self.assertEqual((quota.messages, quota.content), (7, 2**30))

    def test_no_endpoint(self) -> None:
        """What is no endpoint is an error of usage."""
        for words in ("nonsense", "tcp:", "tcp:x", "weird:1"):
            self.options["endpoint"] = []
            self.assertRaises(SystemExit, self.start, "-e", words)


class BalancerTests(SynchronousTestCase):
    """The options for whoever runs it behind a load balancer."""

    def parse(self, *words: str) -> Options:
        """The options that these words make."""
        options = Options()
        options.parseOptions(words)
        return options

    def test_default(self) -> None:
        """Without them there is no balancer."""
        options = self.parse()
        self.assertEqual(
            (options["networks"], options["health"], options["drain"]), (None, None, 0)
        )

    def test_given(self) -> None:
        """Networks, an endpoint and a time, as they are given."""
        options = self.parse(
            *("--proxy-protocol", "10.0.0.0/8,127.0.0.1", "--health", "tcp:8404", "--drain", "2.5")
        )
        self.assertIn("10.9.8.7", options["networks"])
        self.assertNotIn("127.0.0.2", options["networks"])
        self.assertEqual((options["health"], options["drain"]), ("tcp:8404", 2.5))

    def test_nonsense(self) -> None:
        """What is none is an error of usage, in one line."""
        for words, line in (
            (("--proxy-protocol", "10.0.0.1/8"), "--proxy-protocol: 10.0.0.1/8 has host bits set"),
            (("--proxy-protocol", ""), "--proxy-protocol: "),
            (("--proxied-goodbyes",), "--proxied-goodbyes is for relays with --proxy-protocol"),
            (("--health", "8404"), "'8404' is not an endpoint: "),
            (("--drain", "-1"), "--drain wants a number of seconds"),
            (("--drain", "inf"), "--drain wants a number of seconds"),
            (("--drain", "nan"), "--drain wants a number of seconds"),
            (("--drain", "soon"), ""),
        ):
            end = self.assertRaises(SystemExit, self.parse, *words)
            self.assertTrue(str(end.code).startswith(f"messageu: {line}"), end.code)
            self.assertNotIn("\n", str(end.code))

    def test_made(self) -> None:
        """The relay listens for questions about its health beside what it serves, and refuses
        whoever is no balancer."""
        reactor = MemoryReactorClock()
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        options = self.parse(
            *("--database", str(folder / "mail.db"), "-e", "tcp:1", "--v3", "tcp:2"),
            *("--health", "tcp:3", "--proxy-protocol", "10.0.0.0/8"),
        )
        makeService(options, reactor).privilegedStartService()
        self.assertEqual([server[0] for server in reactor.tcpServers], [1, 2, 3])
        for _, factory, *_ in reactor.tcpServers[:2]:
            self.assertIsNone(factory.buildProtocol(IPv4Address("TCP", "192.0.2.7", 1)))
            self.assertIsNotNone(factory.buildProtocol(IPv4Address("TCP", "10.0.0.1", 1)))


class PortFileTests(SynchronousTestCase):
    """What a port file may hold."""

    def read(self, content: bytes | None) -> tuple[int, list[str]]:
        """The port that is read, and the warnings about it."""
        path = Path(self.mktemp())
        if content is not None:
            path.write_bytes(content)
        with capturedLogs() as events:
            port = read_port(path)
        return port, [event["reason"] for event in events if event["log_level"] is LogLevel.warn]

    def test_valid(self) -> None:
        """A decimal number that can be a port, with white space around it."""
        for content, port in ((b"1", 1), (b"4711", 4711), (b" 65535\r\n", 65535)):
            self.assertEqual(self.read(content), (port, []))

    def test_invalid(self) -> None:
        """Anything else is warned about, and the port is the usual one."""
        for content in (b"", b"0", b"65536", b"-1", b"1357 x", b"\xff", b"\xc2\xb2", b"9" * 5000):
            self.assertEqual(self.read(content), (DEFAULT_PORT, ["it holds no port"]), content)

    def test_missing(self) -> None:
        """So is a file that is not there, or cannot be read."""
        self.assertEqual(self.read(None), (DEFAULT_PORT, ["there is no such file"]))
        folder = Path(self.mktemp())
        folder.mkdir()
        self.assertEqual(read_port(folder), DEFAULT_PORT)


class V3Tests(SynchronousTestCase):
    """The options of v3."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.reactor = MemoryReactorClock()
        self.options = Options()

    def make(self, *words: str) -> RelayService:
        """The relay that such options make."""
        self.options.parseOptions(["--database", str(self.folder / "mail.db"), *words])
        return makeService(self.options, self.reactor)

    def ports(self, *words: str) -> list[int]:
        """Where it listens."""
        self.make(*words).privilegedStartService()
        return [server[0] for server in self.reactor.tcpServers]

    def test_default(self) -> None:
        """It listens on 1358, for a thousand that come at once."""
        self.assertEqual(self.ports("-e", "tcp:1"), [1, 1358])
        self.assertEqual(self.reactor.tcpServers[1][2], 1024)

    def test_elsewhere(self) -> None:
        """It listens where it is told, and only there; each version can be left out."""
        self.assertEqual(self.ports("-e", "tcp:1", "--v3", "tcp:2", "--v3", "tcp:3"), [1, 2, 3])
        for words, expected in (
            (("-e", "tcp:1", "--no-v3"), [1]),
            (("--no-v2", "--v3", "tcp:2"), [2]),
        ):
            self.setUp()
            self.assertEqual(self.ports(*words), expected)

    def test_nonsense(self) -> None:
        """What excludes each other, other endpoints, and modes that do not exist are refused."""
        for words in (
            ("--no-v3", "--no-v2"),
            ("--no-v3", "--v3", "tcp:1"),
            ("--v3", "unix:here"),
            ("--v3", "tcp:"),
            ("--registration", "perhaps"),
        ):
            self.setUp()
            self.assertRaises(SystemExit, self.make, *words)

    def test_certificate(self) -> None:
        """The certificate is beside the database, or where it is said to be; nothing is touched
        before the start."""
        for words, path in (((), "mail.db.tls.pem"), (("--v3-certificate", "own.pem"), "own.pem")):
            self.setUp()
            offer = self.make(*words).v3.offer
            self.assertEqual(offer.certificate.name, path)
            self.assertTrue(offer.certificate.is_absolute())
            self.assertEqual(list(self.folder.iterdir()), [])

    def test_registration(self) -> None:
        """Everybody may register unless it is said otherwise."""
        for words, mode in (
            ((), Registration.OPEN),
            (("--registration", "token"), Registration.TOKEN),
            (("--registration=closed",), Registration.CLOSED),
        ):
            self.setUp()
            self.assertIs(self.make(*words).v3.offer.registration, mode)
