"""Colours, for dark terminals and light ones. A test holds their contrast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from textual.theme import Theme

DARK: Final = Theme(
    name="messageu-dark",
    primary="#5fafff",
    secondary="#87d7d7",
    accent="#ffd787",
    warning="#ffaf5f",
    error="#ff8787",
    success="#87d787",
    foreground="#e4e4e4",
    background="#121212",
    surface="#121212",
    panel="#262626",
    dark=True,
    variables={
        "muted": "#a8a8a8",
        "block-cursor-background": "#00335c",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-blurred-background": "#303030",
        "block-cursor-blurred-foreground": "#ffffff",
    },
)

LIGHT: Final = Theme(
    name="messageu-light",
    primary="#005faf",
    secondary="#005f5f",
    accent="#5f00af",
    warning="#875f00",
    error="#af0000",
    success="#005f00",
    foreground="#1c1c1c",
    background="#ffffff",
    surface="#ffffff",
    panel="#eeeeee",
    dark=False,
    variables={
        "muted": "#585858",
        "block-cursor-background": "#d7e7ff",
        "block-cursor-foreground": "#000000",
        "block-cursor-blurred-background": "#e4e4e4",
        "block-cursor-blurred-foreground": "#000000",
    },
)

_LIGHT_BACKGROUNDS: Final = {"7", "15"}


def theme_for(environment: Mapping[str, str]) -> Theme:
    """Dark, unless the terminal tells in COLORFGBG that it is light."""
    background = environment.get("COLORFGBG", "").rpartition(";")[2]
    return LIGHT if background in _LIGHT_BACKGROUNDS else DARK
