"""What an operator sees of a relay in a process of its own: metrics, logs in JSON, settings from a file."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from http.client import HTTPConnection
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from messageu.model import NOBODY
from messageu.wire import v2
from tests.sockets.client import PATIENCE, message, wait_until

from .children import ANY_PORT, ProcessTestCase, Relay, one_port
from .test_backup import ADMIN, AdminTestCase

METRICS = ("--metrics", "tcp:0:interface=127.0.0.1")


def scrape(relay: Relay) -> dict[tuple[str, ...], float]:
    """The samples that a relay tells: name and label values, and the number."""
    port = int(re.search(r"MetricsFactory starting on (\d+)", relay.log)[1])
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class MetricsTests(ProcessTestCase):
    """A relay that Prometheus asks."""

    def test_counts(self) -> None:
        """What the threads of the store measure, and what waits in the mailboxes, is told, too."""
        relay = self.start(*ANY_PORT, *METRICS)
        client = relay.dial()
        anna = client.register(b"anna")
        self.assertEqual(client.ask(message(anna, anna, b"sealed")).code, 2103)
        scrape(relay)  # begins to count what waits
        wait_until(lambda: ("messageu_waiting_bytes", "v2") in scrape(relay), "it has counted")
        samples = scrape(relay)
        self.assertEqual(samples["messageu_waiting_messages", "v2"], 1)
        self.assertEqual(samples["messageu_waiting_bytes", "v2"], len(b"sealed"))
        self.assertEqual(samples["messageu_connections", "v2"], 1)
        self.assertEqual(samples["messageu_requests_total", "v2", "603", "answered"], 1)
        self.assertEqual(samples["messageu_condition", "ready"], 1)
        self.assertGreaterEqual(samples["messageu_store_commit_seconds_count",], 2)
        client.close()
        self.assertEqual(relay.stop(), -signal.SIGTERM)


class ServeTests(ProcessTestCase):
    """A relay that our own command starts, where there is no other."""

    def command(self, way: str, *options: str, before: tuple[str, ...] = ()) -> list[str]:
        return [str(ADMIN), "serve", *before, *one_port(options)]

    def test_serves(self) -> None:
        """It serves in the foreground as it is told, and ends as one of twistd's."""
        relay = self.start(*ANY_PORT, "--database", "mail.db")
        client = relay.dial()
        self.assertTrue(client.register(b"anna"))
        client.close()
        self.assertEqual(relay.stop(), -signal.SIGTERM)
        self.assertTrue((self.folder / "mail.db").exists())
        self.assertFalse((self.folder / "twistd.pid").exists())

    def test_wrong_options(self) -> None:
        """What is wrong with its options is said in one line."""
        finished = self.run_to_end(self.command("", "--registration", "nobody"))
        self.assertEqual(finished.returncode, 1)
        self.assertIn("messageu: --registration is open, token or closed", finished.stderr)


class JsonLogTests(ProcessTestCase):
    """A relay that logs JSON."""

    def check(self, lines: list[str]) -> list[dict[str, object]]:
        """Each line is an object with what every event has."""
        events = [json.loads(line) for line in lines]
        for event in events:
            self.assertLessEqual({"time", "level", "system", "text"}, set(event))
        return events

    def test_foreground(self) -> None:
        """Everything from the first line on is JSON, on standard output."""
        relay = self.start(*ANY_PORT, "--json-logs")
        with socket.create_connection(("127.0.0.1", relay.ports[0])) as client:
            # Before its reactor runs, a signal would end it without a word.
            client.sendall(v2.Request(NOBODY, v2.FetchMessages()).encode())
            self.assertTrue(client.recv(1))
        self.assertEqual(relay.stop(), -signal.SIGTERM)
        events = self.check(relay.log.splitlines())
        served = [event for event in events if "doors" in event]
        self.assertEqual(len(served), 1)
        self.assertIn("serves tcp:0:interface=127.0.0.1", served[0]["text"])
        self.assertEqual(events[-1]["text"].startswith("Server Shut Down"), True)

    def test_daemon(self) -> None:
        """A daemon's log file is JSON from the first line on, and SIGUSR1 begins a new one."""
        relay = self.start_daemon(*ANY_PORT, "--json-logs")
        client = relay.dial()
        client.register(b"anna")
        client.close()
        rotated = self.folder / "relay.log.1"
        os.kill(relay.pid, signal.SIGUSR1)
        wait_until(rotated.exists, "the log is rotated")
        os.kill(relay.pid, signal.SIGTERM)
        wait_until(lambda: not (self.folder / "relay.pid").exists(), "it has ended")
        for path in (rotated, self.folder / "relay.log"):
            self.assertTrue(self.check(path.read_text().splitlines()))

    def test_refused(self) -> None:
        """Where it could not be so, that is said in one line."""
        for way, before, line in (
            ("twist", (), "--json-logs is for twistd; twist has --log-format=json"),
            ("twistd", ("--syslog",), "--json-logs and --syslog of twistd exclude each other"),
        ):
            finished = self.run_to_end(self.command(way, "--json-logs", before=before))
            self.assertEqual(finished.returncode, 1)
            self.assertIn(f"messageu: {line}", finished.stderr)


class ConfigTests(ProcessTestCase):
    """A relay that is told what to do by a file."""

    def test_file(self) -> None:
        """It serves as the file says, and paths are meant from where the command was given."""
        Path(self.folder, "relay.toml").write_text(
            "endpoint = 'tcp:0:interface=127.0.0.1'\nno-v3 = true\ndatabase = 'mail.db'\n"
        )
        relay = self.start("--config", "relay.toml")
        client = relay.dial()
        self.assertTrue(client.register(b"anna"))
        client.close()
        self.assertEqual(relay.stop(), -signal.SIGTERM)
        self.assertTrue((self.folder / "mail.db").exists())

    def test_unknown_key(self) -> None:
        """A key that there is not is refused in one line."""
        Path(self.folder, "relay.toml").write_text("endpiont = 'tcp:1'\n")
        finished = self.run_to_end(self.command("twistd", "--config", "relay.toml"))
        self.assertEqual(finished.returncode, 1)
        self.assertEqual(
            finished.stderr,
            "messageu: relay.toml: there is no setting 'endpiont' (--help explains the options)\n",
        )


class AdminTests(AdminTestCase):
    """The operator's command about users and their mail, as text and as JSON."""

    def test_users_and_mail(self) -> None:
        """It counts and lists users, finds the largest mailboxes, and lets old mail expire."""
        relay = self.start(*ANY_PORT)
        client = relay.dial()
        anna, bob = client.register(b"anna"), client.register(b"bob")
        for content in (b"1", b"22"):
            client.ask(message(anna, bob, content))
        client.close()
        self.assertEqual(self.succeed("users"), "users_v2: 2\nusers_v3: 0\n")
        self.assertEqual(
            json.loads(self.succeed("users", "--json")), {"users_v2": 2, "users_v3": 0}
        )
        self.assertEqual(
            self.succeed("users", "--names", "v2"), f"{anna.hex()} anna\n{bob.hex()} bob\n"
        )
        text = self.succeed("users", "--names", "v2", "--limit", "1")
        self.assertEqual(text, f"{anna.hex()} anna\nthere are more: --after 1\n")
        self.assertEqual(
            json.loads(self.succeed("users", "--names", "v2", "--after", "1", "--json")),
            {"users": [{"id": bob.hex(), "name": "bob"}], "next": None},
        )
        self.assertEqual(self.succeed("mailboxes"), f"v2 {bob.hex()}: 2 messages, 3 bytes\n")
        self.assertEqual(
            json.loads(self.succeed("mailboxes", "--largest", "1", "--json")),
            {"mailboxes": [{"protocol": "v2", "id": bob.hex(), "messages": 2, "bytes": 3}]},
        )
        self.assertEqual(self.succeed("expire", "--before", "1"), "expired_v2: 0\n")
        self.assertEqual(
            json.loads(self.succeed("expire", "--before", "1e-9", "--json")), {"expired_v2": 2}
        )
        self.assertEqual(self.succeed("mailboxes"), "")
        self.assertIn("version", json.loads(self.succeed("status", "--json")))
        for words in (("expire",), ("expire", "--before", "0"), ("mailboxes", "--largest", "0")):
            self.assertEqual(self.admin(*words).returncode, 2)

    def test_invitations(self) -> None:
        """An invitation is shown once, and each is another; a name that nobody had is not released."""
        relay = self.start(*ANY_PORT, "--v3", "tcp:0:interface=127.0.0.1")
        first, second = (self.succeed("invite").strip() for _ in range(2))
        self.assertRegex(first, r"\A[a-z]+: \S{16,}\Z")
        self.assertNotEqual(first, second)
        self.assertNotIn(first.split()[1], relay.log + self.succeed("status"))
        self.refuse(1, "release-name", "nobody")
