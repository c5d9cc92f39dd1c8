"""What follows a command of the operator's: how it is read, and told."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from attrs import frozen

from messageu.model import InvalidValue
from messageu.model.v3 import Handle


def handle(text: str) -> Handle:
    """Reads a name of v3."""
    try:
        return Handle.from_text(text)
    except InvalidValue as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def between(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number."""

    def read(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() else least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not {least} to {most}")
        return number

    return read


def above(most: float, *, zero: bool = False) -> Callable[[str], float]:
    """Reads a number above 0, or from 0 on."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not (0 < number <= most or (zero and number == 0)):
            raise argparse.ArgumentTypeError(f"{text!r} is no number above 0, up to {most:g}")
        return number

    return read


def days(text: str) -> float:
    """Reads how many days."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days above 0")
    return number


@frozen
class Operand:
    """What follows a command: as what, how it is read, what it is; after which option, if any."""

    name: str
    read: Callable[[str], object]
    text: str
    shown: str
    option: str | None = None
    required: bool = True

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Let a command have it."""
        if self.option is None:
            parser.add_argument(self.name, type=self.read, help=self.text, metavar=self.shown)
        else:
            parser.add_argument(
                self.option,
                dest=self.name,
                type=self.read,
                help=self.text,
                metavar=self.shown,
                required=self.required,
            )


@frozen
class Option:
    """What may follow a command, by its name; ``read`` is None for a switch."""

    name: str
    read: Callable[[str], object] | None
    text: str
    default: object = None
    choices: Sequence[str] | None = None
    required: bool = False
    shown: str = "N"

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Let the parser of a command read it."""
        if self.read is None:
            parser.add_argument(f"--{self.name}", action="store_true", help=self.text)
        else:
            parser.add_argument(
                f"--{self.name}",
                dest=self.name,
                type=self.read,
                default=self.default,
                choices=self.choices,
                required=self.required,
                help=self.text,
                metavar=None if self.choices else self.shown,
            )


@frozen
class Command:
    """What can be done, and what has to be said with it."""

    run: Callable[[argparse.Namespace], None]
    text: str
    operands: Sequence[Operand | Option] = ()
