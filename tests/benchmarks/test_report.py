"""What a run found, as a table and as a page."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import run
from benchmarks.figures import Findings, Goal, Plot, Row, Series, ratios, readable
from benchmarks.report import markdown, page


def make_findings() -> Findings:
    """Rows that meet their goals and do not, and plots of both kinds."""
    return Findings(
        {"kernel": "Linux <6>"},
        [
            Row("sends", "fast", "ratio", [3.0, 1.0, 2.0], Goal(at_least=2), "the disk"),
            Row("sends", "slow", "ratio", [3.0, 1.0, 2.0], Goal(at_least=2.5)),
            Row("memory", "small", "MiB", [8.5], Goal(at_most=8)),
            Row("memory", "free", "MiB", [8.0]),
        ],
        [
            Plot("bars", "shape", "/s", [Series("a & b", [("1 × 1", 10.0), ("50 × 1", 1000.0)])]),
            Plot("curve", "users", "µs", [Series("c", [(100.0, 10.0), (10000.0, 20.0)])]),
        ],
        ["something is not installed"],
    )


class FiguresTests(SynchronousTestCase):
    """Rows and their goals."""

    def test_goals_are_of_the_median(self) -> None:
        """A goal is met or not by the median, and a row without a goal is neither."""
        self.assertEqual([row.met for row in make_findings().rows], [True, False, False, None])

    def test_ratios_are_of_one_round(self) -> None:
        """What was measured in the same round is compared."""
        self.assertEqual(ratios([2.0, 9.0], [1.0, 3.0]), [2.0, 3.0])

    def test_numbers_have_the_digits_that_count(self) -> None:
        """Large numbers have no decimals, and small ones three."""
        texts = [readable(value) for value in (5.0, 12345.6, 123.45, 1.234, 0.01234)]
        self.assertEqual(texts, ["5", "12,346", "123.5", "1.23", "0.012"])


class ReportTests(SynchronousTestCase):
    """The two forms."""

    def test_table_says_what_is_met(self) -> None:
        """Each row has its median, range, goal, and whether it is met; sections are apart."""
        table = markdown(make_findings())
        self.assertIn("| fast | 2 | 1 – 3 | ratio | ≥ 2 | yes | the disk |", table)
        self.assertIn("| slow | 2 | 1 – 3 | ratio | ≥ 2.50 | **no** |  |", table)
        self.assertIn("| small | 8.50 | 8.50 – 8.50 | MiB | ≤ 8 | **no** |  |", table)
        self.assertIn("**memory**", table)
        self.assertIn("something is not installed", table)

    def test_page_needs_nothing_else(self) -> None:
        """The page holds its plots, which are well-formed, and fetches nothing."""
        html = page(make_findings())
        for word in ("http:", "https:", "src=", "<6>", "a & b"):
            self.assertNotIn(word, html)
        plots = [part.partition("</svg>")[0] + "</svg>" for part in html.split("<svg")[1:]]
        self.assertEqual(len(plots), 2)
        bars, curve = (ElementTree.fromstring("<svg" + plot) for plot in plots)
        self.assertEqual(len(bars.findall("rect")), 2)
        self.assertEqual(len(curve.findall("circle")), 2)


class ReadmeTests(SynchronousTestCase):
    """The figures in the benchmarks' README."""

    def test_readme_has_room_for_figures(self) -> None:
        """The README that is there has the two marks, in order."""
        before, begin, rest = run.README.read_text("utf-8").partition(run.BEGIN)
        self.assertTrue(before and begin)
        self.assertIn(run.END, rest)

    def test_figures_are_replaced(self) -> None:
        """Only what stands between the marks changes."""
        text = f"before\n{run.BEGIN}old\n{run.END}after\n"
        expected = f"before\n{run.BEGIN}new\n{run.END}after\n"
        self.assertEqual(run.with_figures(text, "new\n"), expected)


class ScratchTests(SynchronousTestCase):
    """Where databases lie while they are measured."""

    def test_memory_is_no_disk(self) -> None:
        """A directory in memory is refused: a sync costs nothing there."""
        self.patch(run.machine, "file_system", lambda _: "tmpfs")
        self.assertRaises(SystemExit, run.make_scratch, Path(self.mktemp()))

    def test_scratch_is_empty(self) -> None:
        """On a disk it is a new directory."""
        self.patch(run.machine, "file_system", lambda _: "ext4")
        scratch = run.make_scratch(Path(self.mktemp()))
        self.assertEqual(list(scratch.iterdir()), [])
