"""Interfaces of zope for Sphinx: autodoc takes them for data.

``.. interface:: messageu.store.IMailboxStore`` shows the interface, and each of its methods.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from textwrap import indent
from typing import TYPE_CHECKING, Any

from sphinx.util.docutils import SphinxDirective
from zope.interface.interface import Method

if TYPE_CHECKING:
    from docutils.nodes import Node
    from sphinx.application import Sphinx


class InterfaceDirective(SphinxDirective):
    """Shows one interface."""

    required_arguments = 1

    def run(self) -> list[Node]:
        """As if it had been written down."""
        module, _, name = self.arguments[0].rpartition(".")
        interface = getattr(import_module(module), name)
        return self.parse_text_to_nodes("\n".join(_describe(module, name, interface)))


def _describe(module: str, name: str, interface: Any) -> Iterator[str]:
    yield f".. py:class:: {name}\n   :module: {module}\n"
    yield indent(inspect.cleandoc(interface.__doc__), "   ") + "\n"
    for member, what in sorted(interface.namesAndDescriptions()):
        kind, signature = (
            ("method", what.getSignatureString()) if isinstance(what, Method) else ("attribute", "")
        )
        yield f"   .. py:{kind}:: {member}{signature}\n"
        yield indent(inspect.cleandoc(what.__doc__), "      ") + "\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directive known."""
    app.add_directive("interface", InterfaceDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
