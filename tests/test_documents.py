"""The documents hang together: what one of them points to is there."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent


class LinkTests(SynchronousTestCase):
    """Links from one file of the project to another."""

    def test_links_lead_somewhere(self) -> None:
        """Every relative link names a file, and every anchor a heading of it."""
        documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
        broken = [
            f"{document.relative_to(ROOT)}: {target}"
            for document in documents
            for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8"))
            if "://" not in target and not self.leads_somewhere(document, target)
        ]
        self.assertIn(ROOT / "README.md", documents)
        self.assertEqual(broken, [])

    def leads_somewhere(self, document: Path, target: str) -> bool:
        """Whether a link in a document has an end."""
        path, _, anchor = target.partition("#")
        file = document.parent / path if path else document
        if not file.is_file():
            return False
        headings = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE)
        return not anchor or anchor in {_anchor_of(heading) for heading in headings}


def _anchor_of(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
