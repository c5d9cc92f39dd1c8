"""docs/promises.md tells what becomes of the mail of every kind of client; this measures it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.test_collection import written_tests

from .behaviour import BEHAVIOURS, Behaviour, Fetcher
from .client import SocketClient, message
from .relay import RelayTestCase, blocking

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "promises.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->"

SIZES = {
    "one small message": [b"s" * 300],
    "8 MiB of mail": [bytes([65 + number]) * (1 << 20) for number in range(8)],
}
"""The columns: the mail that waits."""


def told() -> str:
    """The table as it stands there."""
    return DOCUMENT.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]


class MeasuringTestCase(RelayTestCase):
    """Tests that look what becomes of mail."""

    def setUp(self) -> None:
        # The deadlines of a relay that is to give up soon on whoever vanishes, and of one that is
        # not to take a slow machine for that.
        self.impatient = self.start_relay(progress_deadline=1.0, idle_deadline=1.0)
        self.limits_of_impatient = self.limits
        self.patient = self.start_relay()

    def measure(self, number: int, behaviour: Behaviour, contents: list[bytes]) -> str:
        """What the next fetch finds after somebody has behaved so."""
        port = self.impatient if behaviour.deadline else self.patient
        limits = self.limits_of_impatient if behaviour.deadline else self.limits
        client = SocketClient(port)
        anna = client.register(b"%d of %d" % (number, len(contents)))
        for content in contents:
            self.assertEqual(client.ask(message(anna, anna, content)).code, 2103)
        client.close()
        self.wait_until_alone(limits)
        size = 7 + sum(25 + len(content) for content in contents)
        fits = len(contents) == 1
        behaviour.act(Fetcher(port, anna, size, fits, lambda: self.wait_until_alone(limits)))
        self.wait_until_alone(limits)
        client = self.dial(port)
        found = [waiting.content for waiting in client.fetch_all(anna)]
        client.close()
        if not found:
            return "gone"
        self.assertEqual(found, contents, behaviour.text)
        return "waits again"

    def rows(self) -> Iterator[str]:
        """The table, line by line."""
        yield f"| a client that … | {' | '.join(SIZES)} |\n"
        yield "|---" * (1 + len(SIZES)) + "|\n"
        for number, behaviour in enumerate(BEHAVIOURS):
            cells = [self.measure(number, behaviour, mail) for mail in SIZES.values()]
            yield f"| {behaviour.text} | {' | '.join(cells)} |\n"


class DeliveryTests(MeasuringTestCase):
    """The table of deliveries."""

    @blocking
    def test_table_is_true(self) -> None:
        """Mail is gone, or waits again, as the table says, for each way in which a client may
        behave. MESSAGEU_WRITE_PROMISES=1 writes the table anew."""
        text = DOCUMENT.read_text("utf-8")
        before, _, rest = text.partition(BEGIN)
        told, _, after = rest.partition(END)
        measured = "".join(self.rows())
        if os.environ.get("MESSAGEU_WRITE_PROMISES") == "1":
            DOCUMENT.write_text(f"{before}{BEGIN}{measured}{END}{after}", "utf-8")
            return
        self.assertEqual(told.splitlines(), measured.splitlines())


class PromiseTests(SynchronousTestCase):
    """The table of promises."""

    def test_tests_are_there(self) -> None:
        """Each test that is named as holding a promise is there, and each promise has one."""
        rows = re.findall(
            r"^\| [^|\n]+ \| ([^|\n]*) \|$", DOCUMENT.read_text("utf-8"), re.MULTILINE
        )
        named = [re.findall(r"`(tests\.[\w.]+)`", row) for row in rows if "`tests." in row]
        promises = [row for row in rows if row not in ("", "held by")]
        self.assertGreater(len(named), 15)
        self.assertEqual(len(named), len(promises))
        tests = written_tests(ROOT / "tests")
        self.assertEqual({name for names in named for name in names} - tests, set())
