"""The defaults and options that docs/operations.md tells are those of the code."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from messageu.admin.__main__ import Exit, main
from messageu.server import LIMITS, read_limits
from messageu.server._metrics import FAMILIES
from messageu.settings import SETTINGS, from_file
from messageu.tap import Options

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "operations.md"


def _shown(default: object) -> str:
    """As a default is told."""
    return "" if default in (None, False, ()) else str(default)


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

    def test_settings_are_told(self) -> None:
        """The settings stand there in the order of the table, with their defaults and letters."""
        text = DOCUMENT.read_text("utf-8").partition("\n### Settings\n")[0]
        told = re.findall(r"^\| `--([\w-]+)`(?:, `-(\w)`)? \| (.*?) ?\| ", text, re.MULTILINE)
        expected = [
            (setting.name, setting.short, setting.unless or _shown(setting.default))
            for setting in SETTINGS.values()
        ]
        plain = [(name, short, default.replace("`", "")) for name, short, default in told]
        self.assertEqual([row for row in plain if row[0] in SETTINGS], expected)

    def test_example_of_a_file(self) -> None:
        """The file that stands there as an example is one."""
        text = DOCUMENT.read_text("utf-8").partition("\n```toml\n")[2].partition("```")[0]
        given = from_file("example", text.encode())
        self.assertIn("connections=2000", given["limit"].value)
        read_limits(given["limit"].value)

    def test_metrics_are_told(self) -> None:
        """Every metric stands there with its labels and its meaning, in the order of the code."""
        text = DOCUMENT.read_text("utf-8").partition("\n## Metrics\n")[2].partition("\n## ")[0]
        expected = [
            f"| `{family.name}` ({family.kind.value}) "
            f"| {', '.join(f'`{label}`' for label in family.labels)} | {family.help} |"
            for family in FAMILIES.values()
        ]
        self.assertEqual(re.findall(r"^\| `.*", text, re.MULTILINE), expected)

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
