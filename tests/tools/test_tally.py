"""The counts that continuous integration reports."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tools.tally import tally


class TallyTests(SynchronousTestCase):
    """tools/tally.py."""

    def test_two_logs(self) -> None:
        """The last summaries of several logs are added up, and a log without one adds nothing."""
        logs = "PASSED (successes=3)\n", "", "FAILED (failures=1, skips=2, successes=4)\n"
        self.assertEqual(tally(*logs), "7 passed, 1 failed, 2 skipped")

    def test_passed_run(self) -> None:
        """Successes and skips are counted."""
        log = "Ran 12 tests in 0.100s\n\nPASSED (skips=2, successes=10)\n"
        self.assertEqual(tally(log), "10 passed, 0 failed, 2 skipped")

    def test_failed_run(self) -> None:
        """Errors and unexpected successes are failures; an expected failure has not passed."""
        log = (
            "FAILED (skips=1, expectedFailures=1, failures=2, errors=4, unexpectedSuccesses=1, "
            "successes=300)\njoining disttrial worker #1 failed\n"
        )
        self.assertEqual(tally(log), "300 passed, 7 failed, 2 skipped")

    def test_last_summary_counts(self) -> None:
        """What a test printed of another run is passed over for what comes last."""
        log = "PASSED (successes=1)\nFAILED (failures=1)\nmore\nFAILED (errors=3, successes=8)\n"
        self.assertEqual(tally(log), "8 passed, 3 failed, 0 skipped")

    def test_run_without_tests(self) -> None:
        """No summary, or one without counts, is a run without tests."""
        self.assertEqual(tally("No rule to make target\n"), "0 passed, 0 failed, 0 skipped")
        self.assertEqual(tally("\nPASSED\n"), "0 passed, 0 failed, 0 skipped")

    def test_summary_within_line_is_no_summary(self) -> None:
        """A line that only mentions a summary does not count."""
        log = "PASSED (successes=4)\nit said FAILED (failures=1)\nFAILED (of course)\n"
        self.assertEqual(tally(log), "4 passed, 0 failed, 0 skipped")

    def test_unknown_word_is_refused(self) -> None:
        """A count that trial did not have when this was written is not dropped in silence."""
        self.assertRaises(ValueError, tally, "PASSED (explosions=1, successes=3)\n")
