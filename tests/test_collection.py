"""Every test that is written is run.

A file that does not import, a folder that is no package, a class that is no TestCase, a module
whose name does not begin with ``test_``: in each of these trial would pass over tests in silence.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from unittest import TestCase, TestSuite

from twisted.trial.runner import TestLoader
from twisted.trial.unittest import SynchronousTestCase

TESTS = Path(__file__).resolve().parent


def written_tests(folder: Path) -> set[str]:
    """The tests in the files below a folder, as ``package.module.Class.test_name``."""
    return {
        ".".join([*path.relative_to(folder.parent).with_suffix("").parts, *names])
        for path in folder.rglob("*.py")
        for names in _tests_in(ast.parse(path.read_text("utf-8")))
    }


def _tests_in(node: ast.AST) -> Iterator[tuple[str, ...]]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if name.startswith("test_"):
                    yield (name,)
            case ast.ClassDef(name=name):
                yield from ((name, *inner) for inner in _tests_in(child))
            case _:  # below an `if` or a `with`
                yield from _tests_in(child)


def collected_tests(package: str) -> tuple[set[str], list[str]]:
    """The tests that trial collects from a package, each named where it is written; and what it
    could not load, and the TestCases from which it collects nothing, as a state machine's own."""
    collected: set[str] = set()
    broken: list[str] = []
    useful: set[type] = set()
    for case in _cases(TestLoader().loadByName(package, recurse=True)):
        name = getattr(case, "_testMethodName", None)
        if name is None:
            broken.append(case.id())
            continue
        useful.update(type(case).__mro__)
        for owner in type(case).__mro__:
            if name in vars(owner):
                collected.add(f"{owner.__module__}.{owner.__qualname__}.{name}")
    idle = _test_cases_in(package) - useful
    return collected, broken + [f"{case.__module__}.{case.__qualname__}" for case in idle]


def _test_cases_in(package: str) -> set[type]:
    return {
        value
        for name, module in sys.modules.items()
        if f"{name}.".startswith(f"{package}.")
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, TestCase)
        if not value.__module__.startswith(("unittest", "twisted"))
    }


def _cases(suite: object) -> Iterator[object]:
    if isinstance(suite, TestSuite) or hasattr(suite, "__iter__"):
        for inner in suite:
            yield from _cases(inner)
    else:
        yield suite


class CollectionTests(SynchronousTestCase):
    """This folder."""

    def test_every_test_is_collected(self) -> None:
        """trial collects each test that is written in a file of this folder."""
        collected, broken = collected_tests("tests")
        self.assertEqual(broken, [])
        self.assertIn(self.id(), collected)
        self.assertEqual(written_tests(TESTS) - collected, set())


class GuardTests(SynchronousTestCase):
    """The guard itself, on packages that are made for it."""

    def setUp(self) -> None:
        scratch = TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name)
        sys.path.insert(0, scratch.name)
        self.addCleanup(sys.path.remove, scratch.name)

    def missed(self, package: str, files: dict[str, str]) -> tuple[set[str], list[str]]:
        """What the guard reports for a package of these files."""
        for name, source in {"__init__.py": "", **files}.items():
            path = self.root / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(source), "utf-8")
        self.addCleanup(self._forget, package)
        collected, broken = collected_tests(package)
        return written_tests(self.root / package) - collected, broken

    def _forget(self, package: str) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            del sys.modules[name]

    CASE = """
        from unittest import TestCase

        class FineTests(TestCase):
            def test_one(self): pass
        """

    def test_whole_package_is_fine(self) -> None:
        """Nothing is reported where all is in order, tests of a mixin included."""
        files = {
            "test_a.py": self.CASE,
            "contract.py": "class Contract:\n    def test_two(self): pass\n",
            "test_b.py": """
                from unittest import TestCase
                from collected_whole.contract import Contract

                class ContractTests(Contract, TestCase): pass
                """,
        }
        self.assertEqual(self.missed("collected_whole", files), (set(), []))

    def test_folder_without_init_is_seen(self) -> None:
        """Tests in a folder that is no package are reported."""
        missed, _ = self.missed("collected_folder", {"inner/test_a.py": self.CASE})
        self.assertEqual(missed, {"collected_folder.inner.test_a.FineTests.test_one"})

    def test_name_without_prefix_is_seen(self) -> None:
        """Tests in a module that trial does not take for one of tests are reported."""
        missed, _ = self.missed("collected_name", {"a.py": self.CASE})
        self.assertEqual(missed, {"collected_name.a.FineTests.test_one"})

    def test_broken_import_is_seen(self) -> None:
        """A module that does not import is reported, and its tests."""
        source = "import no_such_module_anywhere\n" + dedent(self.CASE)
        missed, broken = self.missed("collected_broken", {"test_a.py": source})
        self.assertEqual(missed, {"collected_broken.test_a.FineTests.test_one"})
        self.assertEqual(len(broken), 1)

    def test_class_that_is_no_case_is_seen(self) -> None:
        """Tests of a class that is no TestCase, and of no class at all, are reported."""
        source = "class Orphan:\n    def test_one(self): pass\n\ndef test_two(): pass\n"
        missed, _ = self.missed("collected_orphan", {"test_a.py": source})
        expected = {"collected_orphan.test_a.Orphan.test_one", "collected_orphan.test_a.test_two"}
        self.assertEqual(missed, expected)

    def test_bare_state_machine_is_seen(self) -> None:
        """hypothesis's own TestCase, which trial passes without running it, is reported."""
        source = """
            from hypothesis.stateful import RuleBasedStateMachine, rule

            class Machine(RuleBasedStateMachine):
                @rule()
                def step(self): pass

            MachineTests = Machine.TestCase
            """
        _, broken = self.missed("collected_machine", {"test_a.py": source})
        self.assertEqual(len(broken), 1)
