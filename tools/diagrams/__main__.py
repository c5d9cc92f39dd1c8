"""``python -m tools.diagrams``: bring the diagrams in docs up to date; ``--check`` only says which are not."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .exchanges import sequence_diagram, v2_exchange, v3_exchange
from .machines import MACHINES, arrows_of, session_arrows, state_diagram

DOCS: Final = Path(__file__).resolve().parent.parent.parent / "docs"
PLACE: Final = re.compile(
    r"(<!-- diagram ([\w-]+): begin -->\n)(.*?)(<!-- diagram \2: end -->\n)", re.DOTALL
)
"""Where a diagram stands in a page."""


def draw() -> dict[str, str]:
    """Every diagram there is, by its name."""
    states = {name: arrows_of(machine) for name, machine in MACHINES.items()}
    states["v3-session"] = session_arrows()
    return {
        **{name: state_diagram(first, arrows) for name, (first, arrows) in states.items()},
        "v2-exchange": sequence_diagram(v2_exchange()),
        "v3-exchange": sequence_diagram(v3_exchange()),
    }


def places(text: str) -> list[str]:
    """The names of the diagrams that a page has a place for."""
    return [match[2] for match in PLACE.finditer(text)]


def filled(text: str, diagrams: dict[str, str]) -> str:
    """A page with the diagrams in their places.

    :raises KeyError: when it has a place for one that there is not.
    """
    return PLACE.sub(
        lambda match: f"{match[1]}```mermaid\n{diagrams[match[2]]}\n```\n{match[4]}", text
    )


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or say which are stale: then the status is 1."""
    diagrams, stale = draw(), []
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text("utf-8")
        fresh = filled(text, diagrams)
        if fresh != text:
            stale.append(page)
            if "--check" not in arguments:
                page.write_text(fresh, "utf-8")
    for page in stale:
        print(page.relative_to(DOCS.parent))
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
