"""``messageu-admin load`` on a relay, and the page that it draws."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from typing import Any
from xml.etree import ElementTree

from tests.sockets.client import PATIENCE, wait_until

from .children import ANY_PORT, Relay
from .test_backup import ADMIN, AdminTestCase
from .test_operator import METRICS, scrape

SHORT = ("--yes", "--duration", "0.5", "--warmup", "0.1", "--connections", "4", "--mailboxes", "3")


class LoadTests(AdminTestCase):
    """A short load on a relay."""

    def address(self, relay: Relay) -> str:
        """Where the relay is."""
        return f"127.0.0.1:{relay.ports[0]}"

    def polylines(self) -> dict[str, int]:
        """How many points each line of the report has, by its class; the page is well-formed."""
        page = ElementTree.fromstring((self.folder / "load.html").read_text("utf-8"))
        text = (self.folder / "load.html").read_text("utf-8")
        self.assertEqual(re.findall(r"https?://|url\(|@import|<script|\ssrc=|\shref=", text), [])
        lines: dict[str, int] = {}
        for plot in page.iter("svg"):
            for line in plot.iter("polyline"):
                points = len(line.attrib["points"].split())
                style = line.attrib["class"]
                lines[style] = points
                dots = [each for each in plot.iter("circle") if each.attrib["class"] == style]
                self.assertEqual(len(dots), points, style)
        return lines

    def test_counts(self) -> None:
        """The relay has counted what the load says: its users, its messages, what was taken back. The
        page has a point for each stretch, and nothing stays in a mailbox."""
        relay = self.start(*ANY_PORT, *METRICS)
        said = self.succeed("load", self.address(relay), *SHORT, "--json", "--report", "load.html")
        found: dict[str, Any] = json.loads(said)
        everything = found["with_warmup"]
        samples = scrape(relay)
        self.assertEqual(samples["messageu_requests_total", "v2", "600", "answered"], 3)
        self.assertEqual(
            samples["messageu_requests_total", "v2", "603", "answered"], everything["stored"]
        )
        self.assertEqual(everything["sent"], everything["stored"])
        self.assertEqual(found["taken_back"], everything["stored"])
        self.assertLessEqual(found["measured"]["stored"], everything["stored"])
        self.assertGreater(found["measured"]["stored"], 0)
        for name in ("sent", "stored"):
            told = sum(each[name] for each in found["timeline"])
            self.assertEqual(told, found["measured"][name])
        counted = sum(count for _, count in found["histogram"])
        self.assertEqual(counted, found["measured"]["stored"])
        self.assertEqual(self.contents_waiting(), 0)
        stretches = len(found["timeline"])
        answered = sum(each["stored"] > 0 for each in found["timeline"])
        lines = self.polylines()
        self.assertEqual({lines["refused"], lines["lost"]}, {stretches})
        self.assertEqual({lines[name] for name in ("p50", "p95", "p99", "max")}, {answered})
        self.assertIn(lines["a"], (stretches, stretches - 1))
        listed = self.succeed("users", "--names", "v2")
        self.assertEqual(listed.count(found["users"]), 3)

    def contents_waiting(self) -> int:
        """How many messages wait."""
        boxes = json.loads(self.succeed("mailboxes", "--json"))["mailboxes"]
        return sum(box["messages"] for box in boxes)

    def test_interrupted(self) -> None:
        """Ctrl-C ends it early: what was stored is taken back, and the page is written."""
        relay = self.start(*ANY_PORT, *METRICS)
        process = subprocess.Popen(
            [
                str(ADMIN),
                "load",
                self.address(relay),
                *SHORT,
                "--duration",
                "600",
                "--report",
                "load.html",
            ],
            cwd=self.folder,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.kill)
        stored = ("messageu_requests_total", "v2", "603", "answered")
        wait_until(lambda: scrape(relay).get(stored, 0) > 0, "something is stored")
        os.kill(process.pid, signal.SIGINT)
        said, complaint = process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, complaint), (130, "messageu-admin: interrupted\n"))
        self.assertIn("taken back: ", said)
        self.assertEqual(self.contents_waiting(), 0)
        self.polylines()
        self.assertIn("It was ended early", (self.folder / "load.html").read_text("utf-8"))

    def test_refused(self) -> None:
        """What is refused is told, and the code is that of a failure; the page is written."""
        relay = self.start(*ANY_PORT, "--limit", "mailbox_messages=2")
        address = self.address(relay)
        finished = self.admin("load", address, *SHORT, "--report", "load.html")
        self.assertEqual(finished.returncode, 1)
        self.assertRegex(finished.stderr, r"\Amessageu-admin: \d+ messages were refused\n\Z")
        self.assertIn("refused: ", finished.stdout)
        self.polylines()

    def test_nobody_may_register(self) -> None:
        """Where users are refused nothing is sent, and where no relay is, nobody is."""
        relay = self.start(*ANY_PORT, "--limit", "registrations_a_minute=2")
        said = self.refuse(1, "load", self.address(relay), *SHORT)
        self.assertIn("refused to register more than 2 of 3", said)
        relay.stop()
        self.assertIn("is not reached", self.refuse(3, "load", self.address(relay), *SHORT))
