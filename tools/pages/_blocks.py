"""What a page says is to be typed, and what is to be seen then.

A block labelled ``sh`` is run. A block labelled ``text`` that follows it in the same section is what it
shows; ``…`` stands for whatever is there. Comments, which no reader sees, say the rest:

- ``<!-- not run: why -->`` before a block: it is not run;
- ``<!-- terminal NAME -->`` before a block: it is run in a terminal of its own; with ``, until: TEXT``
  behind the name, what follows waits until it shows the text;
- ``<!-- in terminal NAME -->`` before a block of ``text``: it is awaited there;
- ``<!-- Ctrl-C in NAME -->``: what runs there is interrupted, and ends;
- ``<!-- first: COMMAND -->``: what the reader has, and the sandbox has not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from attrs import evolve, frozen

ROOT: Final = Path(__file__).resolve().parent.parent.parent

COMMANDS: Final = "sh"
OUTPUT: Final = "text"

LABELS: Final = frozenset(
    {
        COMMANDS,
        OUTPUT,
        "hex",
        "json",
        "markdown",
        "mermaid",
        "python",
        "toml",
        "{asciinema}",
        "{eval-rst}",
        "{toctree}",
    }
)
"""What a block may be."""

_TOKEN: Final = re.compile(
    r"^(?P<heading>#+ [^\n]*)$|^[ ]*<!--\s*(?P<comment>.*?)\s*-->[ ]*$"
    r"|^(?P<indent>[ ]*)(?P<fence>`{3,})(?P<label>[^\n`]*)\n(?P<body>.*?)^(?P=indent)(?P=fence)[ ]*$",
    re.MULTILINE | re.DOTALL,
)
_FENCE: Final = re.compile(r"^[ >\t]*(?:```|~~~)", re.MULTILINE)
_INDENTED: Final = re.compile(r"^\n {4,}\S", re.MULTILINE)
_NOT_RUN: Final = re.compile(r"not run: (.+)")
_TERMINAL: Final = re.compile(r"terminal (\w+)(?:, until: (.+))?")
_IN_TERMINAL: Final = re.compile(r"in terminal (\w+)")
_CTRL_C: Final = re.compile(r"Ctrl-C in (\w+)")
_FIRST: Final = re.compile(r"first: (.+)")


class BadPage(Exception):
    """A page has a block of which nobody knows what it is; the text says where."""


@frozen
class Block:
    """A block as it stands in a page.

    :ivar line: at which it begins.
    :ivar why_not: the reason for which it is not run; empty: it is.
    """

    line: int
    label: str
    text: str
    why_not: str = ""


@frozen
class Shell:
    """Commands in the terminal of the page; ``shows``: what is seen, or None."""

    line: int
    commands: str
    shows: str | None = None


@frozen
class Terminal:
    """Commands in a terminal of their own, and the text that says that they are under way."""

    line: int
    name: str
    commands: str
    until: str


@frozen
class Shown:
    """What is to come up in such a terminal."""

    line: int
    name: str
    text: str


@frozen
class Ctrl:
    """Ctrl-C in such a terminal."""

    line: int
    name: str


Step = Shell | Terminal | Shown | Ctrl


@frozen
class Page:
    """A page: its blocks, and what is done with them, in their order."""

    path: Path
    blocks: tuple[Block, ...]
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """Its path in the project."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def not_run(self) -> Mapping[int, str]:
        """Why blocks are not run, by their lines."""
        return {block.line: block.why_not for block in self.blocks if block.why_not}


def all_pages() -> Iterator[Page]:
    """Every page of the project."""
    paths = [*ROOT.glob("*.md")]
    for folder in ("docs", "deploy", "benchmarks", "fuzz", "examples"):
        paths.extend((ROOT / folder).rglob("*.md"))
    return (read_page(path) for path in sorted(paths))


def read_page(path: Path) -> Page:
    """Read one page.

    :raises BadPage: for a block without a label that is known, or a comment that belongs to none.
    """
    reading = _Reading(path)
    text = path.read_text("utf-8")
    for token in _TOKEN.finditer(text):
        reading.see(token, text.count("\n", 0, token.start()) + 1)
    rest = _TOKEN.sub("", text)
    if _INDENTED.search(rest):
        raise BadPage(f"{path}: a block is indented; it has no label")
    if _FENCE.search(rest):
        raise BadPage(f"{path}: a block is fenced in a way that is not read here, or has no end")
    return reading.page()


class _Reading:
    """Goes through a page. A comment counts for the block that follows it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._blocks: list[Block] = []
        self._steps: list[Step] = []
        self._comment = ""
        self._runs_before = False

    def page(self) -> Page:
        """What has been read."""
        if self._comment:
            raise BadPage(f"{self._path}: <!-- {self._comment} --> has no block")
        return Page(self._path, tuple(self._blocks), tuple(self._steps))

    def see(self, token: re.Match[str], line: int) -> None:
        """The next heading, comment or block."""
        if token["heading"] is not None:
            self._runs_before = False
        elif token["comment"] is not None:
            self._see_comment(token["comment"], line)
        else:
            self._see_block(token, line)

    def _see_comment(self, comment: str, line: int) -> None:
        if found := _CTRL_C.fullmatch(comment):
            self._steps.append(Ctrl(line, found[1]))
        elif found := _FIRST.fullmatch(comment):
            self._steps.append(Shell(line, found[1]))
        elif any(known.fullmatch(comment) for known in (_NOT_RUN, _TERMINAL, _IN_TERMINAL)):
            self._comment = comment

    def _see_block(self, token: re.Match[str], line: int) -> None:
        label = token["label"].split(maxsplit=1)[0] if token["label"].strip() else ""
        if label not in LABELS:
            raise BadPage(f"{self._path}:{line}: a block is labelled {label!r}")
        comment, self._comment = self._comment, ""
        body = re.sub(rf"^{token['indent']}", "", token["body"], flags=re.MULTILINE)
        why_not = _NOT_RUN.fullmatch(comment)
        block = Block(line, label, body, why_not[1] if why_not and label == COMMANDS else "")
        self._blocks.append(block)
        runs_before, self._runs_before = self._runs_before, False
        if label == COMMANDS and not block.why_not:
            self._see_commands(block, comment)
        elif label == OUTPUT:
            self._see_output(block, comment, runs_before)

    def _see_commands(self, block: Block, comment: str) -> None:
        if found := _TERMINAL.fullmatch(comment):
            self._steps.append(Terminal(block.line, found[1], block.text, found[2] or ""))
        else:
            self._steps.append(Shell(block.line, block.text))
            self._runs_before = True

    def _see_output(self, block: Block, comment: str, runs_before: bool) -> None:
        if found := _IN_TERMINAL.fullmatch(comment):
            self._steps.append(Shown(block.line, found[1], block.text))
        elif runs_before and isinstance(last := self._steps[-1], Shell):
            self._steps[-1] = evolve(last, shows=block.text)
