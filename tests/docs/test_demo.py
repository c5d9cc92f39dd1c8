"""The recorded demonstration is what the program shows today, and nothing of a machine."""

from __future__ import annotations

import ast
import json
import re
from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from tools.record import (
    CAST,
    COLUMNS,
    MOST_PAUSE,
    PAGE,
    ROOT,
    ROWS,
    read_events,
    seen_in,
    tidy,
    write_cast,
)

SIZE_LIMIT = 300_000

IN_ORDER = (
    "registered as anna",
    "Request for symmetric key",
    "symmetric key received",
    "Hello Bern, can you read this?",
    "Are you still there?",
    "registered as carl",
    "dora is verified",
    "Hello Carl!",
    "killed (-9) while he sends",
    "killed (-9) while she receives",
    "delivered: film.bin",
    "That was all.",
)


def stages() -> list[str]:
    """What the program says of its own, in its order, where that is a constant."""
    calls = [
        node
        for node in ast.walk(ast.parse((ROOT / "tools" / "demo.py").read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say"
    ]
    return [call.args[1].value for call in calls if isinstance(call.args[1], ast.Constant)]


class CastTests(SynchronousTestCase):
    """docs/demo.cast."""

    def setUp(self) -> None:
        self.cast = CAST.read_text("utf-8")
        self.seen = seen_in(self.cast)

    def test_form(self) -> None:
        """It is an asciicast, version 2, of a small terminal, and small."""
        header, *events = [json.loads(line) for line in self.cast.splitlines()]
        self.assertEqual((header["version"], header["width"], header["height"]), (2, COLUMNS, ROWS))
        self.assertLess(len(self.cast.encode()), SIZE_LIMIT)
        self.assertEqual({(type(when), kind) for when, kind, _ in events}, {(float, "o")})
        times = [0.0, *(when for when, _, _ in events)]
        pauses = [after - before for before, after in pairwise(times)]
        self.assertTrue(all(0 <= pause < MOST_PAUSE + 0.01 for pause in pauses), max(pauses))

    def test_stages(self) -> None:
        """All that the program says of its stages was seen, and the stages in their order."""
        said = stages()
        self.assertGreater(len(said), 4)
        self.assertEqual([stage for stage in said if stage not in self.seen], [])
        places = [self.seen.find(stage) for stage in IN_ORDER]
        self.assertNotIn(-1, places)
        self.assertEqual(places, sorted(places))
        self.assertEqual(self.seen.count("\nShown: "), 2)

    def test_nothing_of_a_machine(self) -> None:
        """It has no path but those of the demonstration, and no environment."""
        paths = re.findall(r"(?<![\w:/#-])/[a-z][^\s\"]*", self.seen)
        self.assertEqual([p for p in paths if not p.startswith("/tmp/messageu-demo/")], [])
        self.assertEqual(
            set(json.loads(self.cast.splitlines()[0])), {"version", "width", "height", "title"}
        )

    def test_page(self) -> None:
        """The page shows as text what the recording shows."""
        self.assertIn(f"```text\n{self.seen}```\n", PAGE.read_text("utf-8"))


class TidyTests(SynchronousTestCase):
    """How a recording is made readable."""

    def test_pauses(self) -> None:
        """Long pauses are cut short, and lines that come together are parted."""
        events = list(tidy([(9.0, "a\r\nb\r\n"), (9.5, "c\r\n"), (19.0, "d\r\n")]))
        self.assertEqual([data for _, data in events], ["a\r\n", "b\r\n", "c\r\n", "d\r\n"])
        self.assertEqual([round(when, 2) for when, _ in events], [1.0, 1.12, 1.62, 2.62])

    def test_bar(self) -> None:
        """Of a bar that is drawn often some states are kept, and the last."""
        drawn = [(1.0 + n / 64, f"\r{n} %") for n in range(35)]
        kept = [data for _, data in tidy([*drawn, (2.0, "\r\nend\r\n")])]
        self.assertEqual(
            kept, ["\r0 %", "\r7 %", "\r14 %", "\r21 %", "\r28 %", "\r34 %", "\r\n", "end\r\n"]
        )

    def test_folder(self) -> None:
        """The name of the demonstration's folder is no random one."""
        self.assertEqual(
            [data for _, data in tidy([(0.0, "/tmp/messageu-demo-a_9x/b\n")])],
            ["/tmp/messageu-demo/b\n"],
        )

    def test_colours(self) -> None:
        """The text of a recording has no colours."""
        self.assertEqual(
            seen_in(write_cast([(0.5, "\x1b[32m━\x1b[0m\x1b[1;90m╺\x1b[0m a\n")])), "━╺ a\n"
        )

    def test_written_and_read(self) -> None:
        """What is written as a recording is read as the same."""
        events = [(0.5, "a\n"), (1.25, "\rb")]
        self.assertEqual(list(read_events(write_cast(events))), events)
        self.assertEqual(seen_in(write_cast(events)), "a\nb\n")
