"""The table of attacks is whole."""

from __future__ import annotations

from unittest import TestSuite

from twisted.trial.runner import TestLoader
from twisted.trial.unittest import SynchronousTestCase

from . import test_v2, test_v3
from .table import ATTACKS, markdown


def _ids(suite) -> set[str]:
    if not isinstance(suite, TestSuite) and hasattr(suite, "id"):
        return {suite.id()}
    return {test_id for each in suite for test_id in _ids(each)}


class TableTests(SynchronousTestCase):
    def test_every_test_is_in_the_table(self) -> None:
        """Each test of an attack is in a row, and each row names tests that are there."""
        loader = TestLoader()
        there = {
            test_id for module in (test_v2, test_v3) for test_id in _ids(loader.loadModule(module))
        }
        listed = [test for attack in ATTACKS for test in attack.tests]
        self.assertEqual(set(listed), there)
        self.assertEqual(len(listed), len(set(listed)))

    def test_rows(self) -> None:
        """Each attack has one row, and fails on v3 in at least one test."""
        self.assertEqual(len({attack.name for attack in ATTACKS}), len(ATTACKS))
        self.assertTrue(all(attack.v3 for attack in ATTACKS))
        self.assertEqual(len(markdown().splitlines()), len(ATTACKS) + 2)
