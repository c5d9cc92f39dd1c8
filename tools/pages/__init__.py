"""The blocks of commands in the documents, and a session in which those of a page are run."""

from ._blocks import (
    LABELS,
    BadPage,
    Block,
    Ctrl,
    Page,
    Shell,
    Shown,
    Step,
    Terminal,
    all_pages,
    read_page,
)
from ._running import PageFailed, run_page

__all__ = [
    "LABELS",
    "BadPage",
    "Block",
    "Ctrl",
    "Page",
    "PageFailed",
    "Shell",
    "Shown",
    "Step",
    "Terminal",
    "all_pages",
    "read_page",
    "run_page",
]
