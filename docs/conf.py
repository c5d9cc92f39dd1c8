"""How the site is made: ``make docs``.

Sphinx's source directory is the root of the project, so that a link from one file to another means the
same here as where the files are read as they are. Nothing is fetched, and every warning is an error.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pygments.lexers.special import TextLexer

from messageu import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

sys.path.append(str(Path(__file__).parent))

project = "messageu"
author = "The messageu maintainers"
release = version = __version__

root_doc = "docs/index"
include_patterns = [
    *("*.md", "docs/**.md", "deploy/**.md"),
    *(f"{folder}/README.md" for folder in ("benchmarks", "examples", "fuzz")),
]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinxcontrib.asciinema", "_interfaces"]

# Headings have the anchors that forges give them.
myst_heading_anchors = 6
myst_enable_extensions = ["fieldlist"]

nitpicky = True
nitpick_ignore_regex = [
    # Annotations name what is another's, or private, or known to the type checker alone. What a docstring
    # refers to by a role has to be there.
    ("py:(class|exc)", r"(?!messageu\.).*\..*|messageu\..*\._.*|[A-Z]\w*|<InterfaceClass .*>"),
    ("py:obj", r"messageu\..*\._.*"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}

html_theme = "furo"
html_title = "messageu"
html_extra_path = ["_extra"]
html_show_copyright = False


def setup(app: Sphinx) -> None:
    """Name the languages of blocks that Pygments does not know."""
    for language in ("hex", "mermaid"):
        app.add_lexer(language, TextLexer)
