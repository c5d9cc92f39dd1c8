"""Words of a peer on our terminal."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.terminal import visible, visible_name, visible_text


class VisibleTests(SynchronousTestCase):
    """What is shown of a character."""

    def test_ordinary_text_stays(self) -> None:
        """Letters of any script, signs, spaces, lines and tabs are shown as they are."""
        for text in (
            "",
            "hello",
            "héllo wörld, שלום, 你好 😀",
            "two\nlines\n\n\tand a tab\n",
            "no-break\u00a0space",
            "C:\\path \\x1b",
            "- a list\n-- of dashes\n---\n-----BEGIN PGP MESSAGE-----",
            "From: me, in the first line",
            "it came from: here",
        ):
            self.assertEqual(visible_text(text), text)

    def test_invisible_characters_are_escaped(self) -> None:
        """Whatever could move, hide or turn text around becomes an escape."""
        for text, shown in (
            ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
            ("\0\x08\x7f\x9b", "\\x00\\x08\\x7f\\x9b"),
            ("over\rwritten", "over\\rwritten"),
            ("\u202eevil\u2066\u2069", "\\u202eevil\\u2066\\u2069"),
            ("\u200b\u200d\ufeff", "\\u200b\\u200d\\ufeff"),
            ("\u2028\u2029\x85", "\\u2028\\u2029\\x85"),
            ("\ue000\U000e0041\ud800", "\\ue000\\U000e0041\\ud800"),
        ):
            self.assertEqual(visible_text(text), shown)

    def test_windows_line_ends(self) -> None:
        """A carriage return before a new line is part of it."""
        self.assertEqual(visible_text("one\r\ntwo\r"), "one\ntwo\\r")

    def test_one_line(self) -> None:
        """In a name, or a line of ours, new lines and tabs are escapes, too."""
        self.assertEqual(visible("a\n\tb"), "a\\n\\tb")
        self.assertEqual(visible_name(b"a\nFrom: b\x1b"), "a\\nFrom: b\\x1b")
        self.assertEqual(visible_name(b"\xffanna"), "\\xffanna")

    @given(st.text())
    def test_nothing_invisible_is_left(self, text: str) -> None:
        """No control, format or separating character comes through, in any text."""
        for shown, kept in ((visible_text(text), "\n\t"), (visible(text), "")):
            for character in shown:
                if character not in kept:
                    self.assertNotIn(unicodedata.category(character)[0], "C")
                    self.assertNotIn(unicodedata.category(character), ("Zl", "Zp"))


class FrameTests(SynchronousTestCase):
    """A text must not look like more than one message."""

    def test_end_mark(self) -> None:
        """A line like the end mark is given a backslash, wherever it stands."""
        for line in (
            "-----<EOM>-----",
            "-----<eom>-----",
            "  -----<EOM>-----",
            "\t-----<EOM>",
            "\u3000-----<EOM>-----",
            "--- < EOM > ---",
            "\u2014\u2014<EOM>\u2014",
            "\u2212\u2212<EOM>",
            "\uff0d\uff0d\uff1c\uff25\uff2f\uff2d\uff1e",
            " " * 1000 + "-----<EOM>-----",
            "\u3164-----<EOM>-----",
            "\u2800\ufe0f --\u034f---<E\ufe0fOM>-----",
        ):
            self.assertEqual(visible_text(line), f"\\{line}")
            self.assertEqual(visible_text(f"a\n{line}\nb"), f"a\n\\{line}\nb")

    def test_beginning_of_a_message(self) -> None:
        """From the second line on, so is a line like the beginning of a message."""
        for line in ("From: bank", "from : bank", " Content:", "\uff26rom: bank", "FROM:"):
            self.assertEqual(visible_text(f"a\n{line}"), f"a\n\\{line}")

    @given(
        st.lists(
            st.sampled_from(["-----<EOM>-----", "From: x", "Content:", "", " ", "\r", "\x85", "hi"])
        ),
        st.sampled_from(["\n", "\r\n", "\r", "\u2028"]),
    )
    def test_no_text_can_forge(self, lines: list[str], end: str) -> None:
        """Whatever lines a text has: read back line by line, it is one message."""
        shown = visible_text(end.join(lines))
        printed = f"From: bern\nContent:\n{shown}\n-----<EOM>-----\n\n"
        first, *others = shown.split("\n")
        self.assertEqual(printed.split("\n").count("-----<EOM>-----"), 1)
        self.assertNotEqual(first, "-----<EOM>-----")
        self.assertFalse([line for line in others if line.startswith(("From:", "Content:"))])
