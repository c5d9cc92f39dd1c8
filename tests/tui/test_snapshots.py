"""What the screen looks like: rows of text that are kept, and colours that can be read.

``REGENERATE=1`` keeps them anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.color import Color
from rich.style import Style
from textual.pilot import Pilot
from twisted.trial.unittest import SynchronousTestCase

from messageu.tui import KEYS, ChatApp
from messageu.tui._port import FileMoved, FileShown, Mark, State

from .world import SNAPSHOTS, ScreenCase, settle, strips_of

CONTRAST = 4.5
"""The least ratio of two colours between which text can be read, as WCAG has it."""

LIGHT = {"COLORFGBG": "0;15"}
DOCUMENT = Path(__file__).resolve().parents[2] / "docs/chat.md"


class SnapshotTests(ScreenCase):
    """Screens as they are kept."""

    def talk(self) -> None:
        """Some conversations."""
        port = self.port
        carla = port.person("dd92d73d1fa8dc53", Mark.ASKS, called="Carla")
        port.put(carla, "Hello, we met at the lake.", ago=5_000)
        bern = port.person("bern", Mark.VERIFIED)
        port.put(bern, "Lunch tomorrow?", ago=4_000)
        self.anna = port.person("anna")
        port.put(self.anna, "Are you coming tonight?", ago=90_000)
        port.put(self.anna, "Yes, at eight.", mine=True, state=State.DELIVERED, ago=89_000)
        port.put(self.anna, "Then bring the maps, please.", ago=300)
        port.put(self.anna, "Here they come:", mine=True, state=State.STORED, ago=100)
        maps = FileShown("maps.tar.gz", 5_242_880)
        self.file = port.put(self.anna, mine=True, state=State.STORED, file=maps, ago=90)

    def take(self, name: str, *keys: str, size: tuple[int, int] | None = None) -> None:
        """Press keys, and compare what is on the screen."""

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            for key in keys:
                await pilot.press(key)
                await settle(app, pilot)
            for item in self.port.items:
                if item.file is not None and item.file.here is None:
                    sender = None if item.mine else item.key
                    self.port.tell(FileMoved(item.message_id, sender, 9, 20))
            await settle(app, pilot)
            self.snapshot(name, app)
            self.check_contrast(app)

        self.show(script, size)

    def check_contrast(self, app: ChatApp) -> None:
        """Every character stands out from what is behind it; what a box covers need not."""
        boxes = app.screen.query("#dialog")
        region = boxes.first().region if boxes else app.screen.region
        for row in strips_of(app)[region.y : region.bottom]:
            for text, style, _ in row.crop(region.x, region.right):
                drawn = text.strip(" █▌━│─╭╮╰╯▇▁▂▃▄▅▆▔")
                if drawn and style is not None:
                    self.assertGreaterEqual(contrast(style), CONTRAST, (text, style))

    def test_conversations(self) -> None:
        """A list, an open conversation, ticks, a file on its way; the document shows it."""
        self.talk()
        self.take("conversations", "down", "enter")
        text = (SNAPSHOTS / "conversations.txt").read_text("utf-8")
        self.assertIn(f"```text\n{text}```", DOCUMENT.read_text("utf-8"))

    def test_light(self) -> None:
        """The same on a light terminal."""
        self.environment = LIGHT
        self.talk()
        self.take("conversations", "down", "enter")

    def test_empty(self) -> None:
        """Nobody yet: what to do."""
        self.take("empty")

    def test_safety_number(self) -> None:
        """Digits to compare."""
        self.talk()
        self.take("safety-number", "down", "enter", "f2")

    def test_safety_number_light(self) -> None:
        """The same on a light terminal."""
        self.environment = LIGHT
        self.talk()
        self.take("safety-number", "down", "enter", "f2")

    def test_request(self) -> None:
        """Somebody asks to write to us."""
        self.talk()
        self.take("request", "home", "enter")

    def test_accept(self) -> None:
        """What somebody who asks is to be called."""
        self.talk()
        self.take("accept", "home", "enter", "f8")

    def test_files(self) -> None:
        """Files that come, that came, and that could not."""
        anna = self.port.person("anna", Mark.VERIFIED)
        names = (("maps.tar.gz", None, ""), ("a.pdf", True, "/home/me/downloads/a.pdf"))
        for name, here, path in (*names, ("b.iso", False, "")):
            self.port.put(anna, file=FileShown(name, 5_242_880, here, path))
        self.port.put(
            anna,
            mine=True,
            state=State.UNDELIVERED,
            why="the recipient could not keep it",
            file=FileShown("c.zip", 12),
        )
        self.take("files", "enter")

    def test_v2(self) -> None:
        """v2 has its mark on each conversation, and has no safety number."""
        self.port.proven, self.port.me = False, "anna | v2: not authenticated"
        anna = self.port.person("anna", Mark.V2)
        self.port.put(anna, "hello")
        self.port.person("bern", Mark.V2)
        self.take("v2", "enter")
        self.take("v2-safety", "enter", "f2")

    def test_v2_light(self) -> None:
        """The same on a light terminal."""
        self.environment = LIGHT
        self.test_v2()

    def test_small(self) -> None:
        """60 columns and 20 rows."""
        self.talk()
        self.take("small", "down", "enter", size=(60, 20))

    def test_narrow(self) -> None:
        """40 columns: the list, or the messages."""
        self.talk()
        self.take("narrow-list", size=(40, 20))
        self.take("narrow-talk", "down", "enter", size=(40, 20))

    def test_help(self) -> None:
        """All keys; the document lists the same."""
        self.take("help", "f1", size=(80, 30))
        document = DOCUMENT.read_text("utf-8")
        for key, what in KEYS:
            self.assertIn(f"| {key} | {what} |", document)

    def test_find(self) -> None:
        """What was found."""
        self.talk()
        self.take("find", "f3", "m", "a", "p", "s")


class ContrastTests(SynchronousTestCase):
    """The measure itself."""

    def test_extremes(self) -> None:
        """Black on white is 21, and a colour on itself 1."""
        self.assertAlmostEqual(contrast(Style(color="#000000", bgcolor="#ffffff")), 21)
        self.assertAlmostEqual(contrast(Style(color="#777777", bgcolor="#777777")), 1)


def contrast(style: Style) -> float:
    """The ratio of the luminances of a style's colours."""
    colours = [style.color, style.bgcolor]
    if style.reverse:
        colours.reverse()
    light, dark = sorted(map(luminance, colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: Color | None) -> float:
    """As WCAG reckons it."""
    assert colour is not None
    parts = [each / 255 for each in colour.get_truecolor()]
    red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
