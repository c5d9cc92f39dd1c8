"""Write the manual pages of the commands from what reads their command lines.

``python -m tools.manpages`` writes them to ``docs/man``; a test fails while they are not what this
makes. A wheel puts them into ``share/man/man1``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import click

from messageu import __version__
from messageu.admin.__main__ import make_parser
from messageu.commands import (
    COMMANDS,
    ENVIRONMENT,
    FILES,
    MEANINGS,
    PROGRAM,
    Operand,
    command_line,
)

FOLDER: Final = Path(__file__).resolve().parent.parent / "docs" / "man"
DATE: Final = "2026-11-26"
"""When what they say was last looked at as a whole: a page wants a date."""

_SPECIAL: Final = str.maketrans(
    {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
)


def main() -> int:
    """Write all pages; those that are none any more go."""
    FOLDER.mkdir(exist_ok=True)
    made = pages()
    for path in FOLDER.glob("*.1"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text, "ascii")
    return 0


def pages() -> dict[str, str]:
    """The pages, by the names of their files."""
    group = command_line()
    context = group.make_context(PROGRAM, [], resilient_parsing=True)
    made = {f"{PROGRAM}.1": _page_of_all(group, context)}
    for name, command in group.commands.items():
        made[f"{PROGRAM}-{name}.1"] = _page_of_one(
            name,
            command,
            command.make_context(name, [], context, resilient_parsing=True),
        )
    made["messageu-admin.1"] = _page_of_admin(make_parser())
    return made


# Pages of click's commands.


def _page_of_all(group: click.Group, context: click.Context) -> str:
    commands = [(f"{PROGRAM}-{name}(1)", _sentence(row.text)) for name, row in COMMANDS.items()]
    return _page(
        PROGRAM,
        "a client of MessageU",
        *_section("SYNOPSIS", _usage(group, context)),
        *_section("DESCRIPTION", *_paragraphs(group.help or "")),
        *_section("OPTIONS", *_options(group.get_params(context), context)),
        *_section("COMMANDS", *_list(commands)),
        *_common(),
        *_section("SEE ALSO", _text("messageu-admin(1), twistd(1)")),
    )


def _page_of_one(name: str, command: click.Command, context: click.Context) -> str:
    row = COMMANDS[name]
    params = command.get_params(context)
    operands = [
        (param.make_metavar(context), param.text) for param in params if isinstance(param, Operand)
    ]
    return _page(
        f"{PROGRAM}-{name}",
        row.text,
        *_section("SYNOPSIS", _usage(command, context)),
        *_section("DESCRIPTION", *_paragraphs(command.help or "")),
        *(_section("OPERANDS", *_list(operands)) if operands else ()),
        *_section("OPTIONS", *_options(params, context)),
        *_common(),
        *(_section("EXAMPLES", *_examples(row.examples)) if row.examples else ()),
        *_section("SEE ALSO", _text(f"{PROGRAM}(1)")),
    )


def _usage(command: click.Command, context: click.Context) -> str:
    pieces = " ".join(command.collect_usage_pieces(context))
    return rf"\fB{_escaped(context.command_path)}\fR {_escaped(pieces)}"


def _options(params: Iterable[click.Parameter], context: click.Context) -> Iterator[str]:
    records = [
        record
        for param in params
        if isinstance(param, click.Option)
        and (record := param.get_help_record(context)) is not None
    ]
    return _list(records)


def _common() -> Iterator[str]:
    yield from _section(
        "EXIT STATUS", *_table((str(code.value), MEANINGS[code]) for code in MEANINGS)
    )
    yield from _section("ENVIRONMENT", *_table(ENVIRONMENT.items()))
    yield from _section("FILES", *_table(FILES.items()))


def _table(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    return _list((name, _sentence(text)) for name, text in rows)


def _examples(lines: Iterable[str]) -> Iterator[str]:
    yield ".nf"
    yield from map(_text, lines)
    yield ".fi"


# The page of argparse's command.


def _page_of_admin(parser: argparse.ArgumentParser) -> str:
    options = [action for action in parser._actions if action.option_strings]
    commands = [
        line
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, command in action.choices.items()
        for line in _command_of_admin(parser.prog, name, command)
    ]
    status = (parser.epilog or "").partition(": ")[2]
    return _page(
        parser.prog,
        "look after a relay of MessageU",
        *_section("SYNOPSIS", rf"\fB{_escaped(parser.prog)}\fR [OPTIONS] COMMAND [ARGS]..."),
        *_section("DESCRIPTION", *_paragraphs(parser.description or "")),
        *_section("OPTIONS", *_list(map(_record, options))),
        *_section("COMMANDS", *commands),
        *_section("EXIT STATUS", _text(f"{status[:1].upper()}{status[1:]}")),
        *_section("SEE ALSO", _text("messageu(1), twistd(1)")),
    )


def _command_of_admin(program: str, name: str, command: argparse.ArgumentParser) -> Iterator[str]:
    operands = [action for action in command._actions if action.dest != "help"]
    yield f'.SS "{_escaped(f"{program} {name}")}"'
    yield from _paragraphs(command.description or "")
    yield from _list(map(_record, operands))


def _record(action: argparse.Action) -> tuple[str, str]:
    help_text = (
        (action.help or "").replace("%(default)s", str(action.default)).replace("%(prog)s", "it")
    )
    shown = action.metavar or ("|".join(action.choices) if action.choices else "")
    value = shown if isinstance(shown, str) else " ".join(shown)
    names = ", ".join(action.option_strings)
    return f"{names} {value}".strip(), _sentence(help_text)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


# Roff.


def _page(name: str, text: str, *lines: str) -> str:
    head = f'.TH "{_escaped(name.upper())}" "1" "{DATE}" "messageu {__version__}" "MessageU"'
    named = rf"{_escaped(name)} \- {_escaped(text)}"
    return "\n".join([head, *_section("NAME", named), *lines, ""])


def _section(title: str, *lines: str) -> Iterator[str]:
    yield f".SH {title}" if " " not in title else f'.SH "{title}"'
    yield from lines


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield ".PP"
        yield _text(" ".join(paragraph.split()))


def _list(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, text in rows:
        yield ".TP"
        yield rf"\fB{_escaped(name)}\fR"
        yield _text(text)


def _text(line: str) -> str:
    """A line that begins with no request."""
    escaped = _escaped(line)
    return rf"\&{escaped}" if escaped.startswith((".", " ")) else escaped


def _escaped(text: str) -> str:
    """A text in ASCII, in which nothing is an instruction."""
    plain = text.translate(_SPECIAL)
    return "".join(each if each.isascii() else rf"\[u{ord(each):04X}]" for each in plain)


if __name__ == "__main__":
    sys.exit(main())
