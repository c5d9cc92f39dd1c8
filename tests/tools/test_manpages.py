"""The manual pages: what is committed is what is made, and man understands it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from messageu.commands import COMMANDS, MEANINGS
from tools import manpages

REQUESTS = {".TH", ".SH", ".SS", ".PP", ".TP", ".nf", ".fi"}
READERS = {
    "mandoc": ("-T", "lint", "-W", "warning"),
    "groff": ("-man", "-T", "utf8", "-ww", "-z"),
}
"""Programs that read such pages, and how they say all that they find wrong."""


class ManualTests(SynchronousTestCase):
    """All pages."""

    def test_committed(self) -> None:
        """docs/man holds what ``python -m tools.manpages`` makes, and nothing else."""
        committed = {path.name: path.read_text("ascii") for path in manpages.FOLDER.iterdir()}
        self.assertEqual(committed, manpages.pages())

    def test_written(self) -> None:
        """Pages are written, and one that is none any more goes."""
        self.patch(manpages, "FOLDER", Path(self.mktemp()))
        manpages.FOLDER.mkdir()
        (manpages.FOLDER / "messageu-gone.1").write_text("")
        self.assertEqual(manpages.main(), 0)
        self.assertEqual({path.name for path in manpages.FOLDER.iterdir()}, set(manpages.pages()))

    def test_complete(self) -> None:
        """Each command has a page, with every option and all exit codes, and the first page names
        them all."""
        pages = manpages.pages()
        for name, row in COMMANDS.items():
            page = pages[f"messageu-{name}.1"].replace("\\-", "-")
            self.assertIn(f"\\fBmessageu-{name}(1)", pages["messageu.1"].replace("\\-", "-"))
            for param in row.params:
                self.assertIn(param.opts[0] if param.opts[0][0] == "-" else param.text[:10], page)
            for code in MEANINGS:
                self.assertIn(f"\n.TP\n\\fB{code.value}\\fR\n", page)

    def test_structure(self) -> None:
        """Each is ASCII, begins with its title and its name, and a line with a dot in front is a
        request that there is."""
        for name, text in manpages.pages().items():
            lines = text.splitlines()
            title = name.removesuffix(".1").replace("-", "\\-")
            self.assertTrue(lines[0].startswith(f'.TH "{title.upper()}" "1" "'), name)
            self.assertEqual(lines[1], ".SH NAME")
            self.assertTrue(lines[2].startswith(f"{title} \\- "), name)
            self.assertTrue(text.isascii() and text.endswith("\n"))
            requests = {line.split(" ")[0] for line in lines if line[:1] in (".", "'")}
            self.assertEqual(requests - REQUESTS, set(), name)
            unknown = re.findall(r"\\(?!fB|fR|-|e|&|\(aq|\(ga|\(ha|\(ti|\[u[0-9A-F]{4}\])", text)
            self.assertEqual(unknown, [], name)

    def test_readers(self) -> None:
        """Those programs that are here find nothing wrong with them."""
        pages = sorted(str(path) for path in manpages.FOLDER.iterdir())
        for name, options in READERS.items():
            program = shutil.which(name)
            if program is not None:
                finished = subprocess.run(
                    [program, *options, *pages], capture_output=True, check=False, text=True
                )
                self.assertEqual(
                    (finished.returncode, finished.stdout, finished.stderr), (0, "", "")
                )
