"""The layers hold: import-linter's contracts, and what it cannot express.

import-linter sees which package of ours imports which, wherever the statement stands. It sees
Twisted as one module, and it does not see a module that is imported by a call. Both are read here
from the syntax tree.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"


@frozen
class Rule:
    """Who may import something.

    :ivar forbidden: a dotted name; what is below it is meant, too.
    :ivar allowed: patterns of the modules that may import it.
    :ivar why: what would be lost.
    """

    forbidden: str
    allowed: tuple[str, ...]
    why: str


RULES = [
    Rule(
        "twisted.internet.reactor",
        ("messageu.tap._service", "messageu.cli.root", "messageu.tui.root", "messageu.admin._load"),
        "only composition roots take the global reactor; all others are given a clock",
    ),
    Rule(
        "twisted.enterprise",
        ("messageu.store._transactor", "messageu.store.postgres._connection", "messageu.testing.*"),
        "one place decides on which thread and in which transaction SQL runs",
    ),
    Rule("psycopg", ("messageu.store.postgres.*", "messageu.testing.*"), "it is an extra"),
    Rule("sqlite3", ("messageu.store.*", "messageu.testing.*"), "SQL belongs to the store"),
    Rule(
        "twisted.trial",
        ("messageu.testing.*",),
        "what runs in production does not need what tests need",
    ),
    Rule("hypothesis", ("messageu.testing.*",), "it is not among the dependencies"),
]

IMPORTING_CALLS = {
    "__import__",
    "eval",
    "exec",
    "import_module",
    "namedAny",
    "namedModule",
    "namedObject",
    "run_module",
    "run_path",
}
"""Calls that import by a string, which neither import-linter nor this module can follow."""


def violations(module: str, package: str, source: str) -> Iterator[str]:
    """Every breach in one module's source, as a line that a person can act upon.

    ``package`` is where its relative imports start: the module itself, when it is a package.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _called_name(node) in IMPORTING_CALLS:
            yield f"{module}:{node.lineno}: {_called_name(node)} hides what it imports"
        for name in _imported_names(node, package):
            yield from (f"{module}:{_line(node)}: {breach}" for breach in _breaches(module, name))


def _breaches(module: str, name: str) -> Iterator[str]:
    for rule in RULES:
        below = name == rule.forbidden or name.startswith(rule.forbidden + ".")
        if below and not any(fnmatchcase(module, pattern) for pattern in rule.allowed):
            yield f"{name}: {rule.why}"
    if name.endswith(".*"):
        yield f"{name}: an import of everything hides what it imports"
    owner, private, _ = name.replace(".__main__", ".main").partition("._")
    if private and owner.startswith("messageu") and not f"{module}.".startswith(f"{owner}."):
        yield f"{name}: a package is entered through its __init__"


def _imported_names(node: ast.AST, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        parts = package.split(".")
        above = parts[: len(parts) - node.level + 1]
        base = ".".join([*above, base] if base else above)
    return [f"{base}.{alias.name}" for alias in node.names]


def _called_name(node: ast.Call) -> str:
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _line(node: ast.AST) -> int:
    return getattr(node, "lineno", 0)


def _modules() -> Iterator[tuple[str, str, str]]:
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts[-1] == "__init__":
            yield ".".join(parts[:-1]), ".".join(parts[:-1]), path.read_text("utf-8")
        else:
            yield ".".join(parts), ".".join(parts[:-1]), path.read_text("utf-8")


class ContractTests(SynchronousTestCase):
    """The contracts of pyproject.toml."""

    def test_contracts_hold(self) -> None:
        """import-linter finds no import against the layers."""
        try:
            import importlinter  # noqa: F401
        except ImportError:
            self.skipTest("import-linter is not installed: this environment is not for linting")
        command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
        finished = subprocess.run(
            [sys.executable, "-c", command, "--no-cache"],
            capture_output=True,
            check=False,
            cwd=ROOT,
            text=True,
        )
        self.assertEqual(finished.returncode, 0, finished.stdout + finished.stderr)


class SyntaxTests(SynchronousTestCase):
    """What the syntax tree of the sources says."""

    def test_source_keeps_the_rules(self) -> None:
        """No module imports what is kept for another, at its top or anywhere within."""
        modules = list(_modules())
        self.assertIn("messageu.model", [module for module, _, _ in modules])
        found = [line for each in modules for line in violations(*each)]
        self.assertEqual(found, [])

    def test_examples_need_the_client_alone(self) -> None:
        """What an example has of ours comes from the client library, and is public there."""
        examples = sorted((ROOT / "examples").glob("*.py"))
        self.assertNotEqual(examples, [])
        for path in examples:
            module, source = f"examples.{path.stem}", path.read_text("utf-8")
            self.assertEqual(list(violations(module, "examples", source)), [])
            names = [
                name
                for node in ast.walk(ast.parse(source))
                for name in _imported_names(node, "examples")
                if name.startswith("messageu") and not name.startswith("messageu.client.")
            ]
            self.assertEqual(names, [], module)

    def test_permissions_are_used(self) -> None:
        """A module that is allowed something by its name exists."""
        existing = {module for module, _, _ in _modules()}
        named = {pattern for rule in RULES for pattern in rule.allowed if "*" not in pattern}
        self.assertEqual(named - existing, set())


class ViolationsTests(SynchronousTestCase):
    """The reading of the syntax tree itself."""

    def breaches(self, source: str, module: str = "messageu.server._protocol") -> list[str]:
        return list(violations(module, module.rpartition(".")[0], source))

    def test_import_within_function_is_seen(self) -> None:
        """An import that hides in a function is a breach as at the top."""
        for source in (
            "def f():\n    from twisted.internet import reactor",
            "def f():\n    import twisted.internet.reactor as r",
            "class C:\n    def f(self):\n        from twisted.enterprise.adbapi import ConnectionPool",
            "if TYPE_CHECKING:\n    import sqlite3",
        ):
            self.assertEqual(len(self.breaches(source)), 1, source)

    def test_relative_import_is_resolved(self) -> None:
        """A private module of another package is seen behind dots; one's own is no breach."""
        self.assertEqual(len(self.breaches("from ..store._statements import put")), 1)
        self.assertEqual(len(self.breaches("from ..store import _statements")), 1)
        self.assertEqual(self.breaches("from ._limits import Limits"), [])
        self.assertEqual(self.breaches("from .. import model"), [])
        self.assertEqual(self.breaches("from .._errors import E", "messageu.wire.v2._codec"), [])

    def test_import_by_call_is_seen(self) -> None:
        """What imports by a string is refused, whatever the string."""
        for source in (
            "importlib.import_module('twisted.internet.reactor')",
            "__import__('sqlite3')",
            "from twisted.python.reflect import namedAny\nnamedAny(name)",
        ):
            self.assertEqual(len(self.breaches(source)), 1, source)

    def test_import_of_everything_is_seen(self) -> None:
        """A star hides names, and is refused."""
        self.assertEqual(len(self.breaches("from twisted.internet import *")), 1)

    def test_allowed_modules_are_left_alone(self) -> None:
        """The composition roots may have the reactor, and the transactor adbapi."""
        reactor = "from twisted.internet import reactor"
        self.assertEqual(self.breaches(reactor, "messageu.tap._service"), [])
        self.assertEqual(self.breaches(reactor, "messageu.cli.root"), [])
        adbapi = "from twisted.enterprise import adbapi"
        self.assertEqual(self.breaches(adbapi, "messageu.store._transactor"), [])
        self.assertEqual(len(self.breaches(adbapi, "messageu.store._store")), 1)
