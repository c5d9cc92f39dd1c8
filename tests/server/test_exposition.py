"""The text that Prometheus reads."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from messageu.server._exposition import Family, Histogram, Kind, write

GAUGE = Family("a_gauge", Kind.GAUGE, "What it is.", ("one", "other"))


def read(page: bytes) -> dict[str, object]:
    """The families of a page as Prometheus' own parser reads them, by name."""
    return {family.name: family for family in text_string_to_metric_families(page.decode())}


class ExpositionTests(SynchronousTestCase):
    """Pages, and what is read of them."""

    @given(st.text(), st.text(), st.floats(allow_nan=False))
    def test_anything(self, label: str, text: str, number: float) -> None:
        """Whatever a label is, it is read as it was, and so is a number."""
        family = Family("a_gauge", Kind.GAUGE, text, ("one", "other"))
        try:
            label.encode()
        except UnicodeEncodeError:
            return
        samples = [(("x", label.replace("\r", "")), number)]
        (sample,) = read(write([(family, samples)]))["a_gauge"].samples
        self.assertEqual(sample.labels, {"one": "x", "other": label.replace("\r", "")})
        self.assertEqual(sample.value, number)

    def test_text(self) -> None:
        """A page is the lines that the format asks for."""
        page = write([(GAUGE, [(("a", 'b"\\\n'), 1), (("c", "d"), 0.25)])])
        self.assertEqual(
            page.decode(),
            "# HELP a_gauge What it is.\n# TYPE a_gauge gauge\n"
            'a_gauge{one="a",other="b\\"\\\\\\n"} 1\na_gauge{one="c",other="d"} 0.25\n',
        )

    def test_histogram(self) -> None:
        """Each bucket counts all that is not above its bound; the last one counts everything."""
        family = Family("a_time", Kind.HISTOGRAM, "Seconds.", ("code",), (0.5, 1.0))
        times = Histogram(family.bounds)
        for value, count in ((0.5, 1), (0.75, 2), (9.0, 1)):
            times.observe(value, count)
        read_again = read(write([(family, [(("603",), times)])]))["a_time"]
        self.assertEqual(read_again.type, "histogram")
        self.assertEqual(
            [(each.name, each.labels.get("le"), each.value) for each in read_again.samples],
            [
                ("a_time_bucket", "0.5", 1),
                ("a_time_bucket", "1", 3),
                ("a_time_bucket", "+Inf", 4),
                ("a_time_sum", None, 11),
                ("a_time_count", None, 4),
            ],
        )

    def test_nothing_yet(self) -> None:
        """A family without samples is there, so that it can be seen that it is."""
        self.assertEqual(read(write([(GAUGE, [])]))["a_gauge"].samples, [])
