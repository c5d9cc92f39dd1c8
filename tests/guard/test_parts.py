"""The two parts in which continuous integration runs the tests are all of them, each once."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent.parent


def tests_of(target: str) -> list[str]:
    """What a target of the Makefile runs, as trial names it."""
    # What a make around this one was told, it would tell this one, too.
    environment = {"PATH": os.environ["PATH"]}
    said = subprocess.run(
        ["make", "-n", target],
        capture_output=True,
        check=True,
        cwd=ROOT,
        env=environment,
        text=True,
    ).stdout
    (named,) = set(re.findall(r'TESTS="([^"]+)"', said))
    return named.split()


class PartsTests(SynchronousTestCase):
    """make cov, and make hard."""

    def test_every_module(self) -> None:
        """Each module of tests is named by one of the two, by itself or with its package."""
        parts = [*tests_of("cov"), *tests_of("hard")]
        paths = [path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py")]
        modules = [".".join(path.with_suffix("").parts) for path in paths]
        self.assertGreater(len(modules), 200)
        for module in modules:
            named = [part for part in parts if module == part or module.startswith(f"{part}.")]
            self.assertEqual(len(named), 1, module)
