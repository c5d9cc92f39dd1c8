"""Logs for programs to read."""

from __future__ import annotations

import json
from io import StringIO

from hypothesis import given
from hypothesis import strategies as st
from twisted.application.service import Application, Service
from twisted.logger import ILogObserver, Logger, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from messageu.server import JsonLogged, JsonLogObserver


class ObserverTests(SynchronousTestCase):
    """Events, and their lines."""

    def setUp(self) -> None:
        self.stream = StringIO()
        self.observer = JsonLogObserver(self.stream)
        self.log = Logger("messageu.server", observer=self.observer)

    def lines(self) -> list[dict[str, object]]:
        """What was written, a line for each event."""
        text = self.stream.getvalue()
        self.assertTrue(text.endswith("\n"))
        return [json.loads(line) for line in text[:-1].split("\n")]

    def test_interface(self) -> None:
        """It is an observer."""
        self.assertTrue(verifyObject(ILogObserver, self.observer))

    def test_event(self) -> None:
        """A line has the time, the level, the system, the text, and the fields of which it is made."""
        event = {
            "log_format": "{count} of {who}, {more!r}",
            "log_level": LogLevel.warn,
            "log_namespace": "messageu.server",
            "log_time": 1_000_000_000.25,
            "count": 3,
            "who": "peer-1",
            "more": [1],
            "other": "not told",
        }
        self.observer(event)
        (line,) = self.lines()
        self.assertEqual(
            line,
            {
                "time": "2001-09-09T01:46:40.250+00:00",
                "level": "warn",
                "system": "messageu.server",
                "text": "3 of peer-1, [1]",
                "count": 3,
                "who": "peer-1",
                "more": "[1]",
            },
        )

    def test_fields_that_would_mislead(self) -> None:
        """No field takes the name of what we say of every event."""
        self.observer(
            {
                "log_format": "{text} {level} {time}",
                "text": "forged",
                "level": "critical",
                "time": 0,
            }
        )
        (line,) = self.lines()
        self.assertEqual((line["text"], line["level"]), ("forged critical 0", "info"))
        self.assertEqual(line["time"], "1970-01-01T00:00:00.000+00:00")

    @given(st.text())
    def test_whatever_a_peer_says(self, text: str) -> None:
        """Whatever is in a text, an event is one line of printable ASCII, and is read as it was."""
        stream = StringIO()
        Logger(observer=JsonLogObserver(stream)).info("said {what}", what=text)
        line, end = stream.getvalue()[:-1], stream.getvalue()[-1]
        self.assertEqual(end, "\n")
        self.assertTrue(line.isascii() and line.isprintable())
        self.assertEqual(json.loads(line)["what"], text)

    def test_failure(self) -> None:
        """A failure has its traceback."""
        try:
            raise ZeroDivisionError("nothing")
        except ZeroDivisionError:
            self.log.failure("a bug: {matter}", Failure(), matter="division")
        (line,) = self.lines()
        self.assertEqual((line["level"], line["matter"]), ("critical", "division"))
        self.assertIn("ZeroDivisionError: nothing", line["traceback"])

    def test_old_events(self) -> None:
        """An event of Twisted's former logging has its text, and the system that it names."""
        self.observer({"log_text": "", "log_format": "{log_legacy}", "log_legacy": "hello"})
        self.observer({"log_format": None, "log_system": "x"})
        self.observer({"log_format": "{broken", "log_system": "HTTP"})
        first, last = self.lines()
        self.assertEqual((first["text"], first["system"], first["level"]), ("hello", "-", "info"))
        self.assertEqual(last["system"], "HTTP")
        self.assertIn("Unable to format event", last["text"])


class ServiceTests(SynchronousTestCase):
    """How twistd comes to such an observer."""

    def test_application(self) -> None:
        """The application that the relay is put into has it, and the relay starts with it."""
        relay, stream = Service(), StringIO()
        application = Application("messageu")
        service = JsonLogged(relay, lambda: stream)
        self.assertIsNone(application.getComponent(ILogObserver))
        service.setServiceParent(application)
        observer = application.getComponent(ILogObserver)
        observer({"log_format": "hello"})
        self.assertEqual(json.loads(stream.getvalue())["text"], "hello")
        service.startService()
        self.assertTrue(relay.running)
        service.stopService()
        self.assertFalse(relay.running)
