"""What peers cause to be logged."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from messageu.server._notices import NOTICE_INTERVAL, NOTICES_LIMIT, Notices

from .relay import MemoryRelay
from .test_protocol import UNKNOWN_CODE


class NoticeTests(SynchronousTestCase):
    """Notices by themselves."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.notices = Notices(self.clock)

    def note(self, who: str, times: int = 1) -> list[tuple[str, int]]:
        """Note something so many times; who is named in lines about it, and how often it was."""
        with capturedLogs() as events:
            for _ in range(times):
                self.notices.note(who, "shouts")
        return [(event["who"], event["times"]) for event in events]

    def test_once_a_minute(self) -> None:
        """The first time has a line; the others of that minute are counted in the next line."""
        self.assertEqual(self.note("a", 1000), [("a", 1)])
        self.clock.advance(NOTICE_INTERVAL - 1)
        self.assertEqual(self.note("a", 5), [])
        self.clock.advance(1)
        self.assertEqual(self.note("a"), [("a", 1005)])
        self.assertEqual(self.note("b"), [("b", 1)])

    def test_what_was_not_said(self) -> None:
        """Who falls silent has what was not said of him said later."""
        self.note("a", 3)
        self.clock.advance(NOTICE_INTERVAL)
        self.assertEqual(self.note("b"), [("a", 2), ("b", 1)])

    def test_limit(self) -> None:
        """However many they are, there are so many lines in a minute, and one about the rest."""
        lines = [line for n in range(3 * NOTICES_LIMIT) for line in self.note(f"peer {n}")]
        self.assertEqual(len(lines), NOTICES_LIMIT)
        self.clock.advance(NOTICE_INTERVAL)
        self.assertEqual(self.note("late"), [("others", 2 * NOTICES_LIMIT), ("late", 1)])
        self.assertEqual(self.note("later"), [("later", 1)])

    def test_of_a_connection(self) -> None:
        """Ten thousand frames that are refused are one line."""
        client = MemoryRelay().dial()
        with capturedLogs() as events:
            client.send(UNKNOWN_CODE * 10_000)
        self.assertEqual(len(client.take()), 10_000)
        self.assertEqual(
            [event["what"] for event in events], ["sent a frame that is refused: an unknown code"]
        )
        self.assertRegex(events[0]["who"], "^peer-[0-9a-f]{8}$")
