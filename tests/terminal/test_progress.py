"""Bars on a terminal."""

from __future__ import annotations

import os
import re

from twisted.trial.unittest import SynchronousTestCase

from messageu.client.v3 import FileProgress
from messageu.model.v3 import Identity
from messageu.terminal import Bars, Progress

CONTACT = Identity(bytes(32))
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class FakeTerminal:
    """Somebody who sees all at once."""

    def __init__(self, *, interactive: bool = True, encoding: str = "utf-8") -> None:
        self.interactive = interactive
        self.encoding = encoding
        self._written: list[str] = []

    def write(self, text: str) -> None:
        self._written.append(text)

    def take(self) -> str:
        """What was written since."""
        text = "".join(self._written)
        self._written.clear()
        return text


class ProgressCase(SynchronousTestCase):
    """A terminal with no colours, until a test says otherwise."""

    def setUp(self) -> None:
        self.terminal = FakeTerminal()
        self.environ(NO_COLOR="1", TERM="xterm-256color")

    def environ(self, **variables: str) -> None:
        """What the process is told."""
        self.patch(os, "environ", variables)


class ProgressTests(ProgressCase):
    """The bar."""

    def draw(self, title: str = "film", done: int = 500) -> str:
        """A bar of a thousand."""
        Progress(self.terminal, title).show(done, 1000)
        return self.terminal.take()

    def test_bar(self) -> None:
        """It is one line, drawn anew when it looks otherwise, harmless, and ended."""
        progress = Progress(self.terminal, "a\x1b" + "b" * 100)
        for done in (0, 1, 1, 1000):
            progress.show(done, 1000)
        progress.finish()
        progress.finish()
        text = self.terminal.take()
        self.assertEqual((text.count("\r"), text.count("\n")), (2, 1))
        self.assertNotIn("\x1b", text)
        self.assertTrue(all(len(line) < 80 for line in text.split("\r")))

    def test_no_terminal(self) -> None:
        """Where nobody sees it nothing is shown, whatever colours are forced."""
        self.environ(FORCE_COLOR="1")
        self.terminal.interactive = False
        progress = Progress(self.terminal, "a")
        progress.show(1, 0)
        progress.finish()
        self.assertEqual(self.terminal.take(), "")

    def test_colours(self) -> None:
        """There are colours on a terminal that has them, and none where NO_COLOR says so, where the
        terminal is dumb, or where both are said and FORCE_COLOR wants them."""
        self.environ(TERM="xterm-256color")
        coloured = self.draw()
        self.assertRegex(coloured, COLOURS)
        plain = f"\rfilm {'━' * 15}{' ' * 15}  50 %"
        for variables in (
            {"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"},
        ):  # fmt: skip
            self.environ(**variables)
            self.assertEqual(self.draw(), plain, variables)
        shape = COLOURS.sub("", coloured).replace("╺", " ")
        self.assertEqual(len(shape), len(plain))
        self.assertTrue(shape.endswith("  50 %"))

    def test_plain_encoding(self) -> None:
        """A terminal that has no such characters sees dashes."""
        self.terminal.encoding = "ascii"
        self.assertEqual(self.draw(), f"\rfilm {'-' * 15}{' ' * 15}  50 %")

    def test_no_markup(self) -> None:
        """What a peer has called a file is shown as it is, with nothing that acts: rich's markup,
        emoji codes and links are letters."""
        self.environ(TERM="xterm-256color")
        for title in ("[red]a[/red]", "[link=x]", ":bomb:", "[/]", "\\[b]"):
            self.assertTrue(COLOURS.sub("", self.draw(title)).startswith(f"\r{title} "), title)
        drawn = self.draw("\x1b]8;;http://evil\x1b\\a\r\n")
        self.assertEqual(COLOURS.sub("", drawn).count("\x1b"), 0)
        self.assertEqual(drawn.count("\r") + drawn.count("\n"), 1)

    def test_wide_title(self) -> None:
        """A title of wide letters is cut by what it takes, not by how many they are."""
        line = self.draw("漢" * 100)
        self.assertEqual(line.count("漢"), 14)


class BarsTests(ProgressCase):
    """Bars of several files."""

    def test_bars(self) -> None:
        """Of files that come and go at once one has a bar, until it is there or given up; what else
        is shown begins on a line of its own."""
        bars = Bars(self.terminal, lambda message_id, _: message_id.decode())
        for message_id, done, sender in (
            (b"one", 1, None), (b"two", 1, None), (b"one", 3, CONTACT), (b"one", 2, None),
        ):  # fmt: skip
            bars.show(FileProgress(message_id, done, 4, sender))
        bars.drop(b"two", None)
        bars.drop(b"one", CONTACT)
        bars.pause()
        bars.pause()
        quarter, half = f"{'━' * 7}╸{' ' * 22}", f"{'━' * 15}{' ' * 15}"
        self.assertEqual(self.terminal.take(), f"\rone {quarter}  25 %\rone {half}  50 %\n")
        bars.show(FileProgress(b"one", 4, 4))
        bars.show(FileProgress(b"one", 4, 4))
        self.assertEqual(self.terminal.take(), f"\rone {'━' * 30} 100 %\n")
        bars.show(FileProgress(b"two", 2, 4))
        bars.drop(b"two", None)
        bars.show(FileProgress(b"two", 4, 4))
        self.assertTrue(self.terminal.take().endswith("50 %\n"))
