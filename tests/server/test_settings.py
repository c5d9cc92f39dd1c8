"""The table of limits, and what an operator may make of it."""

from __future__ import annotations

from attrs import asdict
from twisted.trial.unittest import SynchronousTestCase

from messageu.server import LIMITS, BadLimit, LimitSettings, read_limits

KIB = 1024
MIB = 1024 * KIB


class TableTests(SynchronousTestCase):
    """The table by itself."""

    def test_has_every_setting(self) -> None:
        """Each setting is a line of the table, with its default."""
        defaults = {name: limit.default for name, limit in LIMITS.items()}
        self.assertEqual(defaults, asdict(LimitSettings()))

    def test_default_is_in_range(self) -> None:
        """What is shown of a line can be set: its default, its least and its most."""
        for limit in LIMITS.values():
            for value in (limit.default, limit.least, limit.most):
                self.assertEqual(limit.read(limit.unit.show(value)), value, limit.name)

    def test_out_of_range(self) -> None:
        """What is below the least or above the most cannot be set."""
        for limit in LIMITS.values():
            for value in (limit.least - 1, limit.most + 1):
                self.assertRaises(BadLimit, limit.read, limit.unit.show(value))

    def test_one_line(self) -> None:
        """A meaning is one line, which fits into a cell."""
        for limit in LIMITS.values():
            self.assertNotRegex(limit.meaning, r"[\n|]|\.$")


class ReadTests(SynchronousTestCase):
    """What an operator writes."""

    def complaint(self, *words: str) -> str:
        """What is wrong with it."""
        return str(self.assertRaises(BadLimit, read_limits, words))

    def test_nothing(self) -> None:
        """Without words, the defaults fit together."""
        self.assertEqual(read_limits([]), LimitSettings())

    def test_each(self) -> None:
        """Each unit can be written, the last of a name counts, and the others stay as they are."""
        self.assertEqual(
            read_limits(
                [
                    "chunk=1500",
                    "chunk=32KiB",
                    "content=1MiB",
                    "input_bytes=1GiB",
                    "connections=7",
                    "idle_deadline=90.5",
                    "stop_grace=0",
                ]
            ),
            LimitSettings(
                chunk=32 * KIB,
                content=MIB,
                input_bytes=1024 * MIB,
                connections=7,
                idle_deadline=90.5,
                stop_grace=0.0,
            ),
        )

    def test_no_value(self) -> None:
        """What is no value of its unit is refused, and the line says what is wanted."""
        for name, wanted, texts in (
            (
                "connections",
                "a whole number",
                ("", "-1", "1.5", "1KiB", " 1", "\u0661", "1e3", "x"),
            ),
            (
                "chunk",
                "a whole number, perhaps with",
                ("", "1.5MiB", "1kib", "1 KiB", "1MB", "KiB"),
            ),
            ("idle_deadline", "a number of seconds", ("", "-1", "nan", "inf", "1e3", "5s", "1.")),
        ):
            for text in texts:
                line = self.complaint(f"{name}={text}")
                self.assertTrue(line.startswith(f"{name} wants {wanted}"), line)
                self.assertTrue(line.endswith(f", not {text!r}"), line)

    def test_no_limit(self) -> None:
        """A name that is none, and a word without a value, are refused."""
        self.assertEqual(self.complaint("conections=1"), "there is no limit 'conections'")
        self.assertEqual(self.complaint("connections"), "'connections' is not NAME=VALUE")
        self.assertEqual(self.complaint("=5"), "there is no limit ''")

    def test_range(self) -> None:
        """A value out of its range is refused, and the line says from where to where it is."""
        self.assertEqual(self.complaint("content=511"), "content=511 is out of range: 512 to 1GiB")
        self.assertEqual(
            self.complaint("connections=0"), "connections=0 is out of range: 1 to 1000000"
        )

    def test_do_not_fit_together(self) -> None:
        """Values that are allowed and do not fit together are refused, and the line says why."""
        for words, line in {
            ("content=64MiB",): "content=64MiB does not fit into input_bytes=64MiB, which needs "
            "another 128KiB for what is read with it",
            ("streams=1024",): "streams=1024 pieces of chunk=64KiB do not fit into "
            "output_bytes=32MiB",
            ("connection_output=2MiB", "output_bytes=1MiB", "streams=1"): "connection_output=2MiB "
            "does not fit into output_bytes=1MiB",
            ("sealed_size=33MiB",): "sealed_size=33MiB does not fit into output_bytes=32MiB",
            ("answer_bytes=400KiB",): "answer_messages=16384 messages without content do not fit "
            "into answer_bytes=400KiB",
            ("crowded_deadline=31",): "crowded_deadline=31 is never reached: progress_deadline=30 "
            "comes first",
        }.items():
            self.assertEqual(self.complaint(*words), line)

    def test_just_fit_together(self) -> None:
        """Values that just fit together are taken."""
        for words in (
            ("content=65408KiB",),
            ("streams=512",),
            ("connection_output=1MiB", "output_bytes=1MiB", "streams=16"),
            ("sealed_size=32MiB",),
            ("answer_bytes=401KiB",),
            ("crowded_deadline=30",),
        ):
            self.assertIsInstance(read_limits(words), LimitSettings)
