"""The table of settings, and where each may come from."""

from __future__ import annotations

import tomllib
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from messageu.server import LimitSettings
from messageu.settings import (
    CONFIG_SIZE_LIMIT,
    DEFAULT,
    SETTINGS,
    BadSetting,
    Given,
    Kind,
    from_command_line,
    from_environment,
    from_file,
    settle,
    show,
    without_secrets,
)
from messageu.tap import Options

VALUES = {
    Kind.TEXT: ("here", '"here"', "here"),
    Kind.COUNT: ("7", "7", 7),
    Kind.NUMBER: ("2.5", "2.5", 2.5),
    Kind.SWITCH: ("yes", "true", True),
    Kind.LIST: ("a b", '["a", "b"]', ("a", "b")),
}
"""For each kind a text, as it stands in TOML, and what it is."""


class SourceTests(SynchronousTestCase):
    """What each source can say."""

    def test_all(self) -> None:
        """Every setting can be said in each of the three ways, and comes to the same."""
        for setting in SETTINGS.values():
            word, toml, value = VALUES[setting.kind]
            words = word.split() if setting.kind is Kind.LIST else [word]
            for given in (
                from_command_line({setting.name: words}),
                from_environment({setting.variable: word}),
                from_file("file", f"{setting.name} = {toml}".encode()),
            ):
                self.assertEqual(
                    {each: said.value for each, said in given.items()}, {setting.name: value}
                )

    def test_every_option_is_a_setting(self) -> None:
        """The options are those of the table, and those that are about the table."""
        known = {name.rstrip("=") for name in Options().longOpt}
        self.assertEqual(
            known - set(SETTINGS), {"help", "version", "config", "show-config", "limits"}
        )
        self.assertLess(set(SETTINGS), known)

    def test_bad_file(self) -> None:
        """What is no setting, or none of its kind, is refused in one line that names the file and
        the key."""
        for content, line in (
            (b"databse = 'x'", "f: there is no setting 'databse'"),
            (b"config = 'x'", "f: there is no setting 'config'"),
            (b"[relay]\ndatabase = 'x'", "f: there is no setting 'relay'"),
            (b"'a\\nb' = 1", "f: there is no setting"),
            (b"drain = 'soon'", "f: drain wants a number"),
            (b"drain = true", "f: drain wants a number"),
            (b"no-v2 = 1", "f: no-v2 wants true or false"),
            (b"no-v2 = 'yes'", "f: no-v2 wants true or false"),
            (b"database = 7", "f: database wants a text"),
            (b"database-connections = 1.5", "f: database-connections wants a whole number"),
            (b"endpoint = [1]", "f: endpoint wants a list of texts"),
            (b"endpoint = {a = 1}", "f: endpoint wants a list of texts"),
            (b"database = ", "f: this is no TOML: "),
            (b"\xff", "f: this is no TOML"),
            (b"#" * (CONFIG_SIZE_LIMIT + 1), "f: it is too large"),
        ):
            error = self.assertRaises(BadSetting, from_file, "f", content)
            self.assertTrue(str(error).startswith(line), error)
            self.assertNotIn("\n", str(error))

    def test_bad_environment(self) -> None:
        """What is none of its kind is refused in one line; a variable that is no setting's is left
        alone, for clients have some."""
        for variable, line in (
            ("MESSAGEU_DRAIN", "MESSAGEU_DRAIN wants a number"),
            ("MESSAGEU_NO_V2", "MESSAGEU_NO_V2 wants yes or no"),
            ("MESSAGEU_DATABASE_CONNECTIONS", "MESSAGEU_DATABASE_CONNECTIONS wants a whole number"),
        ):
            error = self.assertRaises(BadSetting, from_environment, {variable: "soon"})
            self.assertEqual(str(error), line)
        self.assertEqual(from_environment({"MESSAGEU_PASSPHRASE": "x", "MESSAGEU_PORT": "y"}), {})

    def test_table_of_limits(self) -> None:
        """In a file limits can be a table, and one text can stand for a list."""
        given = from_file("f", b"endpoint = 'tcp:1'\n[limit]\nchunk = '1KiB'\nconnections = 7\n")
        self.assertEqual(given["endpoint"].value, ("tcp:1",))
        self.assertEqual(given["limit"].value, ("chunk=1KiB", "connections=7"))


class PrecedenceTests(SynchronousTestCase):
    """Which source counts."""

    def test_order(self) -> None:
        """Whatever has been said in the last of the sources counts, and otherwise the default."""
        for setting in SETTINGS.values():
            sources = [{setting.name: Given(("x",), str(place))} for place in range(3)]
            for first in range(1, 8):
                chosen = [source for place, source in enumerate(sources) if first >> place & 1]
                given = settle(*chosen)[setting.name]
                said = [source[setting.name].source for source in chosen]
                expected = ", ".join(said) if setting.adds_up else said[-1]
                self.assertEqual(given.source, expected)
            self.assertEqual(settle()[setting.name], Given(setting.default, DEFAULT))

    def test_limits_add_up(self) -> None:
        """Limits of all sources hold together; of the same one, the last."""
        file, environment = ({"limit": Given((each,), each)} for each in ("a=1", "a=2"))
        self.assertEqual(settle(file, environment)["limit"].value, ("a=1", "a=2"))


class OptionsTests(SynchronousTestCase):
    """The same by way of the plugin."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.file = self.folder / "relay.toml"
        self.environment: dict[str, str] = {}

    def parse(self, *words: str, file: str | None = None) -> Options:
        """The options of these words, with a file."""
        if file is not None:
            self.file.write_text(file)
            words = ("--config", str(self.file), *words)
        for name, value in self.environment.items():
            self.patch_variable(name, value)
        options = Options()
        options.parseOptions(words)
        return options

    def patch_variable(self, name: str, value: str) -> None:
        """Set a variable for this test."""
        import os

        os.environ[name] = value
        self.addCleanup(os.environ.pop, name, None)

    def shown(self, *words: str, file: str | None = None) -> str:
        """What --show-config prints."""
        with redirect_stdout(StringIO()) as printed:
            end = self.assertRaises(SystemExit, self.parse, "--show-config", *words, file=file)
        self.assertEqual(end.code, 0)
        return printed.getvalue()

    def test_precedence(self) -> None:
        """The command line counts before the environment, that before the file."""
        file = "drain = 1\ndatabase = 'file.db'\nregistration = 'token'\nno-v2 = true\n"
        self.environment = {
            "MESSAGEU_DRAIN": "2",
            "MESSAGEU_DATABASE": "variable.db",
            "MESSAGEU_NO_V2": "no",
        }
        options = self.parse("--drain", "3", file=file)
        self.assertEqual(
            (options["drain"], options["database"], options["registration"], options["no-v2"]),
            (3, "variable.db", "token", False),
        )

    def test_file_by_the_environment(self) -> None:
        """The environment can name the file, and the command line another."""
        self.file.write_text("drain = 1\n")
        other = self.folder / "other.toml"
        other.write_text("drain = 2\n")
        self.environment = {"MESSAGEU_CONFIG": str(self.file)}
        self.assertEqual(self.parse()["drain"], 1)
        self.assertEqual(self.parse("--config", str(other))["drain"], 2)

    def test_limits(self) -> None:
        """Limits of the file, of the environment and of the command line hold together."""
        self.environment = {"MESSAGEU_LIMIT": "streams=3 connections=8"}
        options = self.parse("--limit", "connections=9", file="[limit]\nchunk='1KiB'\nstreams=4\n")
        self.assertEqual(options["settings"], LimitSettings(connections=9, chunk=1024, streams=3))

    def test_complaints_say_where(self) -> None:
        """What cannot be is refused in one line, which says where it stands."""
        self.environment = {"MESSAGEU_DRAIN": "-1"}
        for file, line in (
            ("", "--drain wants a number of seconds (from MESSAGEU_DRAIN)"),
            (
                "v3 = 'unix:x'",
                f"--v3 wants a tcp: or systemd: endpoint, not 'unix:x' (from {self.file})",
            ),
            ("colour = 1", f"{self.file}: there is no setting 'colour'"),
        ):
            end = self.assertRaises(SystemExit, self.parse, file=file)
            self.assertEqual(end.code, f"messageu: {line} (--help explains the options)")

    def test_missing_file(self) -> None:
        """A file that is not there is no reason to do without it."""
        end = self.assertRaises(SystemExit, self.parse, "--config", str(self.file))
        self.assertIn(f"{self.file}: No such file or directory", end.code)

    def test_show(self) -> None:
        """--show-config prints every setting, with where it comes from; the same can be a file."""
        self.environment = {"MESSAGEU_DRAIN": "2"}
        text = self.shown("--limit", "chunk=1KiB", "-e", "tcp:1", file="no-control = true\n")
        self.assertIn('endpoint = ["tcp:1"]  # command line\n', text)
        self.assertIn("drain = 2.0  # MESSAGEU_DRAIN\n", text)
        self.assertIn(f"no-control = true  # {self.file}\n", text)
        self.assertIn('database = "defensive.db"  # default\n', text)
        self.assertIn("# expire-after is not set: never\n", text)
        for name in SETTINGS:
            self.assertRegex(text, rf"(?m)^(# )?{name} (=|is)")
        again = {name: given.value for name, given in from_file("f", text.encode()).items()}
        self.assertEqual(again["limit"], ("chunk=1KiB",))
        self.assertLess(len(again), len(SETTINGS))
        self.assertEqual(set(again), set(tomllib.loads(text)))

    def test_no_password(self) -> None:
        """It never prints the password of a database, however that is written."""
        for address in (
            "postgresql://me:secret@host/mail",
            "postgres://me:secret@a:1,b:2/mail?sslmode=require",
            "postgresql://host/mail?user=me&password=secret",
            "postgresql://me:p@secret@host/mail",
            "postgresql://me:secret/@host/mail",
            "postgresql://[secret",
            "postgresql://host/mail?user=a@b&password=secret",
            "postgresql://me:secret",
        ):
            self.assertNotIn("secret", without_secrets(address), address)
            self.assertNotIn("secret", "".join(show({"database": Given(address, DEFAULT)})))
        self.assertEqual(
            without_secrets("postgresql://me:secret@a:1,b:2/mail?x=y"),
            "postgresql://me@a:1,b:2/mail",
        )
        self.assertIn("me@host", self.shown("-d", "postgresql://me:secret@host/mail"))
