"""The defaults and options that docs/operations.md tells are those of the code."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from messageu.admin.__main__ import Exit, main
from messageu.server import LIMITS
from messageu.tap import Options

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "operations.md"


class DocumentTests(SynchronousTestCase):
    """docs/operations.md."""

    def test_limits_are_told(self) -> None:
        """Every limit stands there with its default, its range and its meaning, in the order of
        the code."""
        text = DOCUMENT.read_text("utf-8").partition("\n## Limits\n")[2].partition("\n## ")[0]
        told = re.findall(r"^\| `.*", text, re.MULTILINE)
        expected = [
            f"| `{limit.name}` | {limit.unit.show(limit.default)} | {limit.range} "
            f"| {limit.meaning} |"
            for limit in LIMITS.values()
        ]
        self.assertEqual(told, expected)

    def test_options_are_told(self) -> None:
        """Every option of the relay stands there, and none that it does not know."""
        text = DOCUMENT.read_text("utf-8").partition("\n## As a daemon\n")[0]
        told = re.findall(r"^\| `--([\w-]+)`", text, re.MULTILINE)
        known = {name.rstrip("=") for name in Options().longOpt}
        self.assertEqual(set(told), known - {"help", "version"})

    def test_command_is_told(self) -> None:
        """Every command of messageu-admin stands there, and every code with which it ends."""
        text = DOCUMENT.read_text("utf-8").partition("\n## The command\n")[2]
        text = text.partition("\n## ")[0]
        told = re.findall(r"^\| `messageu-admin ([\w-]+)", text, re.MULTILINE)
        output = io.StringIO()
        with redirect_stdout(output):
            self.assertRaises(SystemExit, main, ["--help"])
        known = re.findall(r"^    ([\w-]+) +\w", output.getvalue(), re.MULTILINE)
        self.assertEqual(sorted(told), sorted(known))
        codes = re.findall(r"^\| (\d+) \|", text, re.MULTILINE)
        self.assertEqual([int(code) for code in codes], list(Exit))
