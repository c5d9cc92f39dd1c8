"""The page that a load draws."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.admin.load import Interval, Measured, Plan, Timeline, duration, page

EVENTS = st.lists(
    st.tuples(
        st.floats(0, 40), st.sampled_from(["stored", "refused", "lost"]), st.integers(0, 10**8)
    ),
    max_size=30,
)


def measured(events: list[tuple[float, str, int]], seconds: float = 20.0, **others) -> Measured:
    """What a load has found to which this has happened."""
    timeline = Timeline(seconds)
    for at, what, latency in events:
        interval = timeline.at(at)
        interval.sent += 1
        setattr(interval, what, getattr(interval, what) + 1)
        if what == "stored":
            interval.latencies.record(latency)
    whole = timeline.sum()
    values = {"unsent": 0, "taken_back": whole.stored, "interrupted": False, "users": "load-1"}
    return Measured(seconds, timeline, whole, **{**values, **others})


class PageTests(SynchronousTestCase):
    """HTML and SVG."""

    @given(EVENTS, st.sampled_from([0.0, 0.01, 3.0, 20.0]), st.sampled_from([None, 5.0]))
    def test_whatever_happened(
        self, events: list[tuple[float, str, int]], seconds: float, rate: float | None
    ) -> None:
        """Whatever was measured, also nothing, it is well-formed, and every point is in its plot."""
        text = page(Plan("relay", 1, rate=rate), measured(events, seconds), "now")
        plots = list(ElementTree.fromstring(text).iter("svg"))
        self.assertEqual(len(plots), 3)
        for plot in plots:
            _, _, width, height = map(float, plot.attrib["viewBox"].split())
            for dot in plot.iter("circle"):
                self.assertTrue(0 <= float(dot.attrib["cx"]) <= width, dot.attrib)
                self.assertTrue(0 <= float(dot.attrib["cy"]) <= height, dot.attrib)
        styles = [line.attrib["class"] for line in plots[0].iter("polyline")]
        self.assertEqual(styles, ["a"] if rate is None else ["b", "a"])

    def test_titles(self) -> None:
        """What is under the pointer says what it is, when, and how much."""
        text = page(Plan("relay", 1), measured([(1.0, "stored", 2_000)]), "now")
        self.assertIn("<title>p99, 1.125 s: 2 ms</title>", text)
        self.assertIn("<title>stored, 1.125 s: 4</title>", text)

    def test_complaints(self) -> None:
        """What went wrong stands at the top, and is a text and nothing else."""
        found = measured([], complaints=("<b>no</b>",), unsent=7, interrupted=True)
        text = page(Plan("relay", 1), found, "now")
        self.assertNotIn("<b>no</b>", text)
        for said in (
            "&lt;b&gt;no",
            "It was ended early.",
            "7 messages were due",
            "The rate is more",
        ):
            self.assertIn(said, text)

    def test_clean(self) -> None:
        """A load is clean when everything was answered as it should be, and came back."""
        stored, refused = [(1.0, "stored", 9)], [(1.0, "refused", 0)]
        self.assertTrue(measured(stored).clean)
        self.assertFalse(measured(refused).clean)
        self.assertFalse(measured(stored, taken_back=0).clean)
        self.assertFalse(measured(stored, complaints=("one",)).clean)

    def test_durations(self) -> None:
        """A time has the unit that suits it."""
        self.assertEqual([duration(n) for n in (7, 1500, 2_000_000)], ["7 µs", "1.5 ms", "2 s"])

    def test_sum(self) -> None:
        """Stretches are added in all that they count."""
        whole = Interval(1, 2, 3, 4)
        whole.add(Interval(10, 20, 30, 40))
        self.assertEqual((whole.sent, whole.stored, whole.refused, whole.lost), (11, 22, 33, 44))
