"""What may follow a command: operands, options, and how their texts are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from messageu.model.v3 import TOKEN_SIZE

LONGEST_TIMEOUT: Final = 86400.0
"""Seconds; more is a mistake."""

_SAFE_LABEL: Final = re.compile(r"\w[\w.@+-]*")
"""What a shell leaves as it is. Others are not offered: a shell would run what is in them."""


class Operand(click.Argument):
    """What a command is about, in its place.

    :ivar text: what it is.
    """

    def __init__(self, name: str, text: str, **settings: Any) -> None:
        super().__init__([name], **settings)
        self.text = text


class Switch(click.Option):
    """An option without a value."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__([name], is_flag=True, help=text)


class ContactName(click.ParamType):  # type: ignore[type-arg] # only later ones are generic
    """What we call somebody, which a shell completes where no passphrase is in the way."""

    name = "name"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names of contacts. Whatever is wrong, there are none, and nothing is said."""
        complete: Callable[[Path], Iterable[str]] | None = ctx.obj
        if complete is None:
            return []
        try:
            names = sorted(complete(_folder_of(ctx)))
        except Exception:  # noqa: BLE001 - whatever it is, a press of TAB is no moment to say so
            return []
        return [
            CompletionItem(name)
            for name in names
            if name.startswith(incomplete) and _SAFE_LABEL.fullmatch(name)
        ]


def _folder_of(context: click.Context) -> Path:
    """The folder that was named behind the command, or before it, or nowhere."""
    seen: click.Context | None = context
    while seen is not None:
        folder: Path | None = seen.params.get("folder")
        if folder is not None:
            return folder
        seen = seen.parent
    return Path()


class _Token(click.ParamType):  # type: ignore[type-arg]
    """A token of the relay's operator, in hexadecimal digits."""

    name = "token"

    def convert(self, value: Any, param: Any, ctx: Any) -> bytes:
        """Read it."""
        if isinstance(value, bytes):
            return value
        try:
            token = bytes.fromhex(value)
        except ValueError:
            token = b""
        if len(token) != TOKEN_SIZE:
            self.fail(f"a token has {2 * TOKEN_SIZE} hexadecimal digits", param, ctx)
        return token


class _Seconds(click.ParamType):  # type: ignore[type-arg]
    """A time that somebody may wait."""

    name = "seconds"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Read it."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= LONGEST_TIMEOUT:
            self.fail(f"seconds, more than 0 and at most {LONGEST_TIMEOUT:g}", param, ctx)
        return seconds


PATH: Final = click.Path(path_type=Path)
TOKEN: Final = _Token()
SECONDS: Final = _Seconds()
CONTACT: Final = ContactName()
