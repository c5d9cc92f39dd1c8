"""The screen, as somebody uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from messageu.client import ClientError
from messageu.tui import KEYS, ChatApp
from messageu.tui._dialogs import SEARCH_PAUSE
from messageu.tui._port import Line, LineChanged, Mark, State
from messageu.tui._texts import ASCII
from messageu.tui._widgets import Composer, MessageView
from messageu.tui._words import HINTS

from .world import NUMBER, ScreenCase, settle, text_of, type_text

HOSTILE = (
    "[bold red]free[/] [@click=app.quit]here[/] $primary \x1b[2J\x1b]0;t\x07 \u202eabc {x} \\[x]"
)
"""Markup, an action, a variable, escapes, and a mark that turns the direction of writing."""


async def look_for(app: ChatApp, pilot: Pilot[Any], wanted: str) -> None:
    """Type what is looked for, and wait until all was looked through."""
    type_text(app, *wanted)
    await pilot.pause(SEARCH_PAUSE)
    while "looking" in text_of(app):
        await pilot.pause()


class TalkTests(ScreenCase):
    """Conversations."""

    def test_talk(self) -> None:
        """One opens a conversation, writes, and sees what becomes of it; what comes is there at once."""
        anna = self.port.person("anna")
        self.port.put(anna, "are you there?")

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            self.assertIn("anna", text_of(app))
            await pilot.press("enter")
            await settle(app, pilot)
            type_text(app, *"yes", "ctrl+j", *"Iam", "enter")
            await settle(app, pilot)
            self.assertEqual(self.port.done, [("text", anna, "yes\nIam")])
            self.assertIn("… queued", text_of(app))
            for state, words in ((State.STORED, "✓ stored"), (State.DELIVERED, "✓✓ delivered")):
                self.port.become(self.port.items[-1], state=state)
                await settle(app, pilot)
                self.assertIn(words, text_of(app))
            self.port.come(anna, "good")
            await settle(app, pilot)
            self.assertIn("good", text_of(app))

        self.show(script)

    def test_burst(self) -> None:
        """What is typed faster than it is drawn is sent whole, and to whom it was written."""
        anna, bern = self.port.person("anna"), self.port.person("bern")

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            await pilot.press("enter")
            await settle(app, pilot)
            type_text(app, *"quick", "enter")
            await settle(app, pilot)
            self.assertEqual(self.port.done, [("text", anna, "quick")])
            type_text(app, *"to", "enter", *"anna", "alt+down", *"bern")
            await settle(app, pilot)
            self.assertEqual(self.port.done[1:], [("text", anna, "to")])
            self.assertEqual(self.port.done[-1][1], anna)
            composer = app.query_one(Composer)
            self.assertEqual(app._book.drafts, {anna: "anna"})
            self.assertEqual((composer.key, composer.text), (bern, "bern"))

        self.show(script)

    def test_refused(self) -> None:
        """What cannot be sent is told with its reason, and can be mended where it was written."""
        self.port.person("anna")
        self.port.error = ClientError("it is [b]too[/b] long \x1b[2J")

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            await pilot.press("enter")
            await settle(app, pilot)
            type_text(app, *"text", "enter")
            await settle(app, pilot)
            self.assertIn("it is [b]too[/b] long \\x1b", text_of(app))
            self.assertEqual(app.query_one("#composer").text, "text")

        self.show(script)

    def test_drafts(self) -> None:
        """What was begun is there again when its conversation is; a blank text is not sent."""
        self.port.person("anna")
        self.port.person("bern")

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            await pilot.press("enter")
            await settle(app, pilot)
            type_text(app, *"half", "alt+down")
            await settle(app, pilot)
            composer = app.query_one("#composer")
            self.assertEqual(composer.text, "")
            await pilot.press("space", "enter", "ctrl+p")
            await settle(app, pilot)
            self.assertEqual((composer.text, self.port.done), ("half", []))

        self.show(script)

    def test_hostile(self) -> None:
        """Names and texts of others are shown as they are, and are never markup."""
        eve = self.port.person("[blink]eve[/] \x1b[1m", called="[link=x]y[/link]")
        self.port.put(eve, HOSTILE)

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            await pilot.press("enter")
            await settle(app, pilot)
            shown = text_of(app)
            for words in (
                "[blink]eve[/] \\x1b[1m",
                "[bold red]free[/]",
                "[@click=app.quit]here",
                "\\u202eabc",
            ):
                self.assertIn(words, shown)
            self.assertNotIn("\x1b", shown)
            await pilot.click(MessageView)
            await pilot.press("f2")
            await settle(app, pilot)
            self.assertIn("Safety number with [blink]eve[/]", text_of(app))
            await pilot.press("escape", "f3")
            await look_for(app, pilot, "free")
            await settle(app, pilot)
            self.assertIn("[bold red]free[/]", text_of(app))
            self.assertTrue(app.is_running)

        self.show(script, (120, 30))

    def test_long_text(self) -> None:
        """Of a mebibyte the beginning is shown, and all of it on demand."""
        eve = self.port.person("eve")
        self.port.put(eve, f"{'x' * 2**20}END")

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            await pilot.press("enter")
            await settle(app, pilot)
            self.assertIn("characters more: ctrl+o", text_of(app))
            await pilot.press("ctrl+o")
            await settle(app, pilot)
            self.assertEqual(len(app.screen_stack), 2)

        self.show(script)

    def test_crowd(self) -> None:
        """Thousands of messages at once are drawn as a few, the last one among them."""
        anna = self.port.person("anna")

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            await pilot.press("enter")
            await settle(app, pilot)
            for number in range(3_000):
                self.port.come(anna, f"number {number}")
            await settle(app, pilot)
            self.assertIn("number 2999", text_of(app))
            self.assertLessEqual(len(app.query(MessageView)), 200)

        self.show(script)

    def test_pages(self) -> None:
        """Scrolling up brings the pages before."""
        anna = self.port.person("anna")
        for number in range(60):
            self.port.put(anna, f"number {number}")

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            await pilot.press("enter")
            await settle(app, pilot)
            self.assertIn("number 59", text_of(app))
            for _ in range(60):
                await pilot.press("pageup")
                await settle(app, pilot)
                if "number 0" in text_of(app):
                    break
            await settle(app, pilot)
            self.assertIn("number 0", text_of(app))

        self.show(script)

    def test_away(self) -> None:
        """Offline is said with its reason, and ctrl+r tries again."""

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            self.port.tell(LineChanged(Line(False, "nothing listens there", 1_700_000_009.0)))
            await settle(app, pilot)
            self.assertIn("offline: nothing listens there; again in 9 s", text_of(app))
            await pilot.press("ctrl+r")
            await settle(app, pilot)
            self.assertEqual(self.port.started, 2)
            self.assertIn("online as anna", text_of(app))

        self.show(script)

    def test_leave(self) -> None:
        """ctrl+q and ctrl+c leave, wherever one is."""
        for keys in (("ctrl+q",), ("f1", "ctrl+c"), ("f5", "ctrl+q")):

            async def script(app: ChatApp, pilot: Pilot[Any], keys: tuple[str, ...] = keys) -> None:
                await pilot.press(*keys)

            self.assertEqual(self.show(script).return_value, 0)


class BoxTests(ScreenCase):
    """What is asked."""

    def test_verify(self) -> None:
        """The digits are shown in groups, and the answer is kept."""
        anna = self.port.person("anna")

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            await pilot.press("enter", "f2")
            await settle(app, pilot)
            self.assertIn(f"{NUMBER[:5]} {NUMBER[5:10]}", text_of(app))
            await pilot.click("#same")
            await settle(app, pilot)
            self.assertIn(("verify", anna, True), self.port.done)
            self.assertIn("✓ verified", text_of(app))

        self.show(script)

    def test_request(self) -> None:
        """Somebody who asks is accepted or blocked by a key or the mouse, and not written to before."""
        for keys, mark in ((("f8", "enter"), Mark.UNVERIFIED), (("f9",), Mark.BLOCKED)):
            eve = self.port.person("eve", Mark.ASKS)

            async def script(app: ChatApp, pilot: Pilot[Any], keys: tuple[str, ...] = keys) -> None:
                await pilot.press("enter")
                await settle(app, pilot)
                self.assertFalse(app.query_one("#composer").display)
                for key in keys:
                    await pilot.press(key)
                    await settle(app, pilot)

            self.show(script)
            self.assertIs(self.port.everybody[eve].mark, mark)

    def test_accept_as(self) -> None:
        """Whoever is accepted is asked a name for; one that is refused stays in the box, with the reason."""
        eve = self.port.person("dd92d73d", Mark.ASKS, offered="Carla")

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            await pilot.press("enter", "f8")
            await settle(app, pilot)
            self.assertIn("What you call them (empty: Carla):", text_of(app))
            self.port.error = ClientError("another contact is called so already")
            await pilot.press("e", "v", "e", "enter")
            await settle(app, pilot)
            self.assertIn("another contact is called so already", text_of(app))
            self.port.error = None
            await pilot.press("2", "enter")
            await settle(app, pilot)
            self.assertEqual(self.port.done, [("accept", eve, "eve2")])
            self.assertTrue(app.query_one("#composer").has_focus)

        self.show(script)

    def test_accept_as_offered(self) -> None:
        """An empty line takes the name that is offered; escape decides nothing."""
        eve = self.port.person("dd92d73d", Mark.ASKS, offered="Carla")

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            await pilot.press("enter", "f8", "escape")
            await settle(app, pilot)
            self.assertEqual(self.port.done, [])
            await pilot.press("f8", "enter")
            await settle(app, pilot)
            self.assertEqual(self.port.done, [("accept", eve, "Carla")])

        self.show(script)

    def test_rename(self) -> None:
        """Where no question is asked F8 renames, also above what was said already."""
        eve = self.port.person("eve")
        self.port.put(eve, "hello")

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            await pilot.press("enter", "f8", "enter")
            await settle(app, pilot)
            self.assertIn("this is to be filled in", text_of(app))
            await pilot.press("z", "o", "e", "enter")
            await settle(app, pilot)
            self.assertEqual(self.port.done, [("rename", eve, "zoe")])
            self.assertIn("zoe  22:13", text_of(app))

        self.show(script)

    def test_rename_as_offered(self) -> None:
        """A name that has come meanwhile, without a word, is offered."""
        eve = self.port.person("dd92d73d")

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            await pilot.press("enter")
            await settle(app, pilot)
            self.port.person("dd92d73d", offered="Carla")
            await pilot.press("f8", "enter")
            await settle(app, pilot)
            self.assertEqual(self.port.done, [("rename", eve, "Carla")])

        self.show(script)

    def test_changed(self) -> None:
        """When a name is somebody else's one decides who is meant."""
        eve = self.port.person("eve", Mark.CHANGED)

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            await pilot.press("enter")
            await settle(app, pilot)
            self.assertIn("F9 Take the new one", text_of(app))
            await pilot.click("#replace")
            await settle(app, pilot)
            self.assertEqual(self.port.done, [("decide", eve, True)])

        self.show(script)

    def test_block(self) -> None:
        """F9 blocks a contact, when one says so once more."""
        anna = self.port.person("anna")

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            await pilot.press("enter", "f9")
            await settle(app, pilot)
            self.assertEqual(self.port.done, [])
            await pilot.press("tab", "enter")
            await settle(app, pilot)
            self.assertEqual(self.port.done, [("block", anna)])

        self.show(script)

    def test_file(self) -> None:
        """A file that is not there is not sent; one that is there is."""
        anna = self.port.person("anna")
        file = self.folder.absolute() / "maps.txt"
        file.write_text("maps")

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            await pilot.press("enter", "f4", "x", "enter")
            await settle(app, pilot)
            self.assertIn("there is no such file", text_of(app))
            app.screen.query_one("#path").value = str(file)
            await pilot.press("enter")
            await settle(app, pilot)
            self.assertEqual(self.port.done, [("file", anna, Path(file))])

        self.show(script)

    def test_add(self) -> None:
        """Somebody is added by link or name, and their conversation is open."""

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            await pilot.press("f5")
            type_text(app, *"bern")
            await pilot.press("enter")
            type_text(app, *"Bernie")
            await pilot.press("enter")
            await settle(app, pilot)
            await settle(app, pilot)
            self.assertEqual(self.port.done, [("add", "bern", "Bernie")])
            self.assertIn("Bernie  · not verified", text_of(app))

        self.show(script)

    def test_find(self) -> None:
        """A message is found while one types, and shown where it stands."""
        anna, bern = self.port.person("anna"), self.port.person("bern")
        self.port.put(anna, "the needle")
        for number in range(300):
            self.port.put(bern if number % 2 else anna, f"hay {number}")

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            await pilot.press("f3")
            await look_for(app, pilot, "needle")
            await settle(app, pilot)
            self.assertIn("1 found", text_of(app))
            await pilot.press("enter")
            await settle(app, pilot)
            await settle(app, pilot)
            self.assertIn("the needle", text_of(app))
            self.assertEqual(app.query(".found").first(MessageView).item.number, 1)

        self.show(script)

    def test_help_and_link(self) -> None:
        """The help names every key; the link is shown whole."""

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            await pilot.press("f1")
            await settle(app, pilot)
            for key, what in KEYS:
                self.assertIn(f"{key}", text_of(app))
                self.assertIn(what[:20], text_of(app))
            await pilot.press("escape", "f6")
            await settle(app, pilot)
            self.assertIn("pin0123456789", text_of(app))

        self.show(script, (90, 40))

    def test_hints(self) -> None:
        """The last line's keys are those of the help, and can be clicked."""
        self.assertLessEqual(
            {key for key, _, _ in HINTS[:-1]}, {key.split(",")[0] for key, _ in KEYS}
        )

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            await pilot.click("#keys", offset=(2, 0))
            await settle(app, pilot)
            self.assertEqual(len(app.screen_stack), 2)

        self.show(script)


class FormTests(ScreenCase):
    """Sizes, signs and colours."""

    def test_any_size(self) -> None:
        """No size breaks it, and where there is no room for both one sees the list or the messages."""
        anna = self.port.person("anna " * 30, called="x" * 100)
        self.port.put(anna, "hello " * 100)

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            for size in ((200, 60), (40, 12), (8, 3), (2, 1)):
                await pilot.resize_terminal(*size)
                await settle(app, pilot)
                await pilot.press("enter", "f1", "escape")
                await settle(app, pilot)
            await pilot.resize_terminal(40, 12)
            await settle(app, pilot)
            self.assertIn("hello", text_of(app))
            self.assertNotIn("not verified\n", text_of(app).split("hello")[1])
            await pilot.press("escape")
            await settle(app, pilot)
            self.assertNotIn("hello", text_of(app))

        self.show(script, (80, 24))

    def test_ascii(self) -> None:
        """Where there is no UTF-8, nothing of ours needs it."""
        self.glyphs = ASCII
        anna = self.port.person("anna", Mark.VERIFIED)
        self.port.put(anna, "hello", mine=True, state=State.DELIVERED)

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            await pilot.press("enter")
            await settle(app, pilot)
            self.assertIn("vv delivered", text_of(app))
            self.assertTrue(text_of(app).isascii(), text_of(app))

        self.show(script)

    def test_fault_shows_no_variables(self) -> None:
        """A fault of the program ends it with a traceback in which no text of anybody is."""
        anna = self.port.person("anna")
        self.port.put(anna, "SECRETWORDS")
        self.port.before = lambda *_: [object(), "SECRETWORDS"]  # type: ignore[assignment,method-assign]
        told: list[object] = []

        async def script(app: ChatApp, pilot: Pilot[Any]) -> None:
            app.panic = lambda *lines: told.extend(lines)  # type: ignore[method-assign]
            await pilot.press("enter")
            await settle(app, pilot)

        self.assertRaises(AttributeError, self.show, script)
        self.assertIn("Traceback", str(told))
        self.assertNotIn("SECRETWORDS", str(told))
