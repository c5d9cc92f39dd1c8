"""Words and texts, made harmless and short."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from twisted.trial.unittest import SynchronousTestCase

from messageu.tui._book import Conversation
from messageu.tui._dialogs import excerpt
from messageu.tui._port import FileShown, Item, Line, Mark, Person, State
from messageu.tui._rows import clipped, conversation_row, title_row
from messageu.tui._texts import (
    ASCII,
    LINES_LIMIT,
    TEXT_LIMIT,
    UNICODE,
    bar,
    fate,
    glyphs_for,
    harmless_text,
    moment,
    size_of,
    standing,
    whereabouts,
)

from .world import NOW


def item(**fields: object) -> Item:
    """A message of ours."""
    given = {"mine": True, "state": State.QUEUED, **fields}
    return Item(1, b"k", b"m", time=NOW, text="", **given)  # type: ignore[arg-type]


class TextTests(SynchronousTestCase):
    """Texts of others."""

    @given(st.text(max_size=300), st.integers(1, 40), st.integers(1, 5))
    def test_nothing_moves_the_cursor(self, text: str, limit: int, lines: int) -> None:
        """Whatever was written, only printable characters and ends of lines are left, in bounds."""
        shown, cut = harmless_text(text, limit, lines)
        self.assertTrue(all(each.isprintable() or each == "\n" or each.isspace() for each in shown))
        self.assertNotIn("\x1b", shown)
        self.assertLess(shown.count("\n"), lines)
        self.assertEqual(cut > 0, len(text) > limit or text[:limit].count("\n") >= lines)

    def test_hostile(self) -> None:
        """Escapes, marks that turn the direction, and carriage returns are written out."""
        shown, _ = harmless_text("\x1b[2J\u202eevil\rX\r\ny\tz")
        self.assertEqual(shown, "\\x1b[2J\\u202eevil\\rX\ny   z")

    def test_long(self) -> None:
        """Of a mebibyte, or of very many lines, the beginning is shown, and how much more there is."""
        shown, cut = harmless_text("x" * 2**20)
        self.assertEqual((len(shown), cut), (TEXT_LIMIT, 2**20 - TEXT_LIMIT))
        shown, cut = harmless_text("\n" * 1_000)
        self.assertEqual((shown.count("\n"), cut), (LINES_LIMIT - 1, 1_000 - LINES_LIMIT + 1))

    def test_excerpt(self) -> None:
        """Of what was found the place is shown where it stands."""
        text = f"{'a ' * 100}NEEDLE{' b' * 100}"
        self.assertIn("NEEDLE", excerpt(text, "needle", 50))
        self.assertEqual(len(excerpt(text, "needle", 50)), 50)
        self.assertEqual(excerpt("short", "nothing", 50), "short")


class WordTests(SynchronousTestCase):
    """What is said."""

    def test_fates(self) -> None:
        """Ours has a tick and a word for each thing that can become of it, others have none."""
        words = [fate(item(state=state), UNICODE) for state in list(State)[:4]]
        self.assertEqual(words, ["… queued", "✓ stored", "✓✓ delivered", "✗ not delivered"])
        lost = item(state=State.UNDELIVERED, why="it was withdrawn")
        self.assertEqual(fate(lost, ASCII), "x not delivered: it was withdrawn")
        self.assertEqual(fate(item(mine=False, state=State.RECEIVED), UNICODE), "")

    def test_ascii(self) -> None:
        """A terminal that is not of UTF-8 is shown signs that it has."""
        self.assertIs(glyphs_for("UTF-8"), UNICODE)
        for encoding in ("ISO-8859-1", "ANSI_X3.4-1968", None):
            self.assertIs(glyphs_for(encoding), ASCII)
        signs = (*ASCII.ticks.values(), *ASCII.marks.values(), ASCII.full, ASCII.online)
        self.assertTrue("".join(signs).isascii())
        for glyphs in (UNICODE, ASCII):
            self.assertEqual(set(glyphs.marks), set(Mark))

    def test_moments(self) -> None:
        """Today has the time alone; what a sender makes up breaks nothing."""
        self.assertEqual(moment(NOW, NOW, UTC), "22:13")
        self.assertEqual(moment(NOW - 86_400, NOW, UTC), "13 Nov 22:13")
        self.assertEqual(moment(NOW - 400 * 86_400, NOW, UTC), "10 Oct 2022 22:13")
        east = timezone(timedelta(hours=14))
        for time in (-1.0, 0.0, 1e12, 1.8e16):
            self.assertTrue(moment(time, NOW, UTC) and moment(time, NOW, east))

    def test_files(self) -> None:
        """Of a file it is said how large it is, how far it has come, and where it is."""
        self.assertEqual(
            [size_of(n) for n in (12, 2**20, 5 * 2**40)], ["12 bytes", "1.0 MiB", "5120.0 GiB"]
        )
        self.assertEqual(bar(1, 4, ASCII), "#####...............  25 %")
        self.assertEqual(bar(0, 0, ASCII), "#" * 20 + " 100 %")
        there = {"mine": False, "state": State.RECEIVED}
        words = [
            whereabouts(item(**there, file=FileShown("x", 1, here, path)))
            for here, path in ((None, ""), (True, "/a/x"), (False, ""))
        ]
        self.assertEqual(words, ["it is on its way", "/a/x", "it could not be received"])

    def test_line(self) -> None:
        """Offline has its reason, and when it is tried again."""
        self.assertEqual(standing(Line(online=True), NOW, ASCII, "anna"), "* online as anna")
        line = Line(False, "the relay cannot be reached", NOW + 12.4)
        self.assertEqual(
            standing(line, NOW, UNICODE, "anna"),
            "○ offline: the relay cannot be reached; again in 12 s",
        )
        stale = Line(False, "this profile is older", None, serious=True)
        self.assertEqual(standing(stale, NOW, ASCII, "a"), "o offline: this profile is older")
        elsewhere = standing(Line(True, "open elsewhere"), NOW, ASCII, "a")
        self.assertEqual(elsewhere, "* online as a | open elsewhere")


class RowTests(SynchronousTestCase):
    """Rows of the list, and the title."""

    def test_width(self) -> None:
        """A row fits its width, whatever the name is, and keeps its badge."""
        for name in ("anna", "x" * 300, "漢字" * 50, "", "e\u0301" * 80):
            for width in (8, 21, 40):
                row = conversation_row(
                    Conversation(Person(b"k", name, Mark.V2), 1, 12), width, UNICODE
                )
                for line in row.plain.split("\n"):
                    self.assertLessEqual(cell_len(line), width, (name, width))
                self.assertTrue(row.plain.split("\n")[0].endswith(" 12"))
        self.assertEqual(clipped("abc", 3, "..."), "abc")

    def test_marks(self) -> None:
        """Each mark has its words, v2's and a changed name's in a colour that warns."""
        row = conversation_row(Conversation(Person(b"k", "anna", Mark.V2)), 30, UNICODE)
        self.assertIn("v2: not authenticated", row.plain)
        self.assertTrue(any("$warning" in str(span.style) for span in row.spans))

    def test_own_name_comes_last(self) -> None:
        """What somebody calls himself comes after all that we say of him."""
        person = Person(b"k", "anna", Mark.UNVERIFIED, "✓ verified", 3)
        self.assertEqual(
            title_row(person, UNICODE).plain,
            "anna  · not verified  3 missing  calls themselves: ✓ verified",
        )
