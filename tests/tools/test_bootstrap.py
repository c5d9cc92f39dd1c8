"""The environment that make makes. Making one needs an index: continuous integration does it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tools import bootstrap

ROOT = Path(__file__).resolve().parent.parent.parent


class LowestVersionsTests(SynchronousTestCase):
    """The constraints of the lowest leg."""

    def test_lower_bounds_become_pins(self) -> None:
        """Each requirement of the run, and of the tests is pinned to its lower bound."""
        project = """
        [project]
        dependencies = ["twisted>=26.4", "zope.interface>=6.0"]
        [project.optional-dependencies]
        test = ["coverage[toml]>=7.10"]
        lint = ["ruff"]
        """
        expected = ["twisted==26.4", "zope.interface==6.0", "coverage==7.10"]
        self.assertEqual(bootstrap.lowest_versions(project), expected)

    def test_requirement_without_bound_is_refused(self) -> None:
        """A requirement whose lowest version nobody named is no constraint."""
        for requirement in ("twisted", "twisted>26", "twisted>=26,<27", "twisted @ file:///x"):
            project = f"""
            [project]
            dependencies = ["{requirement}"]
            optional-dependencies = {{ test = [] }}
            """
            self.assertRaises(bootstrap.BootstrapError, bootstrap.lowest_versions, project)

    def test_project_names_its_lower_bounds(self) -> None:
        """pyproject.toml gives each requirement one lower bound, and one to Python."""
        text = (ROOT / "pyproject.toml").read_text("utf-8")
        self.assertIn("twisted==26.4", bootstrap.lowest_versions(text))
        lowest = ".".join(map(str, bootstrap.LOWEST_PYTHON))
        self.assertEqual(tomllib.loads(text)["project"]["requires-python"], f">={lowest}")


class TellingLineTests(SynchronousTestCase):
    """What of pip's words is passed on."""

    def test_first_error_is_told(self) -> None:
        """The first error is the cause; what follows are consequences."""
        said = "WARNING: x\nERROR: no version of hatchling\nERROR: No match\n\nhint: see log\n"
        self.assertEqual(bootstrap.telling_line(said), "no version of hatchling")

    def test_last_line_is_told_without_errors(self) -> None:
        """The last line is told when none is an error; and silence is told, too."""
        self.assertEqual(bootstrap.telling_line("Traceback\nOSError: full\n"), "OSError: full")
        self.assertEqual(bootstrap.telling_line("\n"), "it said nothing")


class CommandTests(SynchronousTestCase):
    """The command as make calls it, where nothing can be fetched."""

    def run_bootstrap(self, directory: Path) -> subprocess.CompletedProcess[str]:
        """Run it without an index, on a Python without ensurepip."""
        shim = Path(self.mktemp())
        (shim / "ensurepip").mkdir(parents=True)
        (shim / "ensurepip" / "__init__.py").write_text("raise ImportError", "utf-8")
        nowhere = {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_FIND_LINKS": str(shim),
            "PIP_NO_INDEX": "1",
            "PYTHONPATH": str(shim.absolute()),
        }
        return subprocess.run(
            [sys.executable, str(ROOT / "tools" / "bootstrap.py"), str(directory)],
            capture_output=True,
            check=False,
            env={**os.environ, **nowhere},
            text=True,
        )

    def test_missing_index_gives_one_line(self) -> None:
        """Without a network one line says so, and the next run does not take what is there."""
        directory = Path(self.mktemp())
        for _ in range(2):
            finished = self.run_bootstrap(directory)
            self.assertEqual(finished.returncode, 1, finished.stderr)
            self.assertEqual(len(finished.stderr.splitlines()), 1, finished.stderr)
            self.assertIn("is there a network", finished.stderr)

    def test_missing_ensurepip_is_made_up_for(self) -> None:
        """Without ensurepip an environment is made, and a pip for it is asked of the index."""
        directory = Path(self.mktemp())
        finished = self.run_bootstrap(directory)
        self.assertIn("pip could not install", finished.stderr)
        self.assertTrue((directory / "bin" / "python").exists())
        self.assertEqual(list(directory.glob("lib/*/site-packages/pip")), [])

    def test_foreign_directory_is_left_alone(self) -> None:
        """A directory that is no environment is not overwritten."""
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "letter.txt").write_text("dear", "utf-8")
        finished = self.run_bootstrap(directory)
        self.assertEqual(finished.returncode, 1)
        self.assertIn("no virtual environment", finished.stderr)
        self.assertEqual((directory / "letter.txt").read_text("utf-8"), "dear")
