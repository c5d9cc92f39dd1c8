"""What commands print for programs: lines of JSON that are what the schema says."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase

from messageu.cli import Exit
from messageu.commands import COMMANDS

from .test_commands import CommandCase

SCHEMA = json.loads(files("messageu.cli").joinpath("schema/v1.json").read_text("utf-8"))
ROOT = Path(__file__).resolve().parent.parent.parent
FIELDS_OF_INBOX = ("number", "id", "from", "identity", "standing", "time", "kind", "text")
"""What the first scripts were written against."""


def known_fields(definition: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """All fields that an object may have, and what is said of them."""
    branches = (branch["then"] for branch in definition.get("allOf", ()))
    return {
        name: described
        for each in (definition, *branches)
        for name, described in each["properties"].items()
    }


class SchemaTests(SynchronousTestCase):
    """The schema itself."""

    def test_schema(self) -> None:
        """It is one, and each object says which number it has."""
        Draft202012Validator.check_schema(SCHEMA)
        for definition in SCHEMA["$defs"].values():
            self.assertIn("v", definition["required"])

    def test_documented(self) -> None:
        """Every field is in docs/json.md, with the words of the schema, and every command that takes
        --json is named there."""
        document = (ROOT / "docs/json.md").read_text("utf-8")
        for name, definition in SCHEMA["$defs"].items():
            _, _, section = document.partition(f"\n## {name}: ")
            section, _, _ = section.partition("\n## ")
            for field, described in known_fields(definition).items():
                words = described["const"] if "const" in described else described["description"]
                self.assertIn(f"\n| `{field}` | {words} |", section, name)
        for name, row in COMMANDS.items():
            if any(param.name == "json" for param in row.params):
                self.assertRegex(document, rf"\n## .*`{name}`")


class JsonTests(CommandCase):
    """What is printed."""

    def setUp(self) -> None:
        super().setUp()
        self.register_both()

    def check(self, name: str, written: str) -> list[dict[str, Any]]:
        """The objects of a command, which are of the schema and have no other fields."""
        definition = SCHEMA["$defs"][name]
        validator = Draft202012Validator({**definition, "$defs": SCHEMA["$defs"]})
        objects = []
        for line in written.splitlines():
            self.assertTrue(line.isascii() and line.isprintable())
            fields = json.loads(line)
            errors = [error.message for error in validator.iter_errors(fields)]
            self.assertEqual(errors, [], line)
            self.assertEqual(fields.keys() - known_fields(definition).keys(), set())
            objects.append(fields)
        return objects

    def test_sent(self) -> None:
        """What is sent has its id and how far it has come, and the exit code says the same."""
        [fields] = self.check("sent", self.done("anna", "send", "bern", "hello", "--json"))
        self.assertEqual((fields["to"], fields["status"], fields["why"]), ("bern", "stored", None))
        [shown] = self.check("message", self.done("bern", "inbox", "--json"))
        self.assertEqual(shown["id"], fields["id"])
        listening, self.network.listener = self.network.listener, None
        exit_code, written = self.run_for("anna", "send", "bern", "later", "--json")
        [fields] = self.check("sent", written)
        self.assertEqual((exit_code, fields["status"]), (Exit.QUEUED, "queued"))
        self.network.listener = listening

    def test_file(self) -> None:
        """A file is described to both sides."""
        sent = self.root / "holiday\x1b.jpg"
        sent.write_bytes(bytes(range(256)) * 3000)
        self.console.interactive = True
        written = self.done("anna", "send-file", "bern", str(sent), "--json")
        [fields] = self.check("sent", written)
        self.assertEqual(fields["status"], "stored")
        self.done("bern", "inbox", "--json")
        [theirs] = self.check("message", self.done("bern", "history", "anna", "--json"))
        self.assertEqual((theirs["kind"], theirs["state"]), ("file", "received"))
        self.assertEqual(Path(theirs["path"]).read_bytes(), sent.read_bytes())
        [ours] = self.check("message", self.done("anna", "history", "bern", "--json"))
        self.assertEqual((ours["name"], ours["state"], ours["path"]), (theirs["name"], None, None))

    def test_undelivered(self) -> None:
        """What was not delivered says why."""
        self.done("anna", "delete-account", "--yes")
        exit_code, written = self.run_for("bern", "send", "anna", "hello", "--json")
        [fields] = self.check("sent", written)
        self.assertEqual(
            (exit_code, fields["status"], fields["why"]),
            (Exit.FAILED, "undelivered", "the recipient has no account any more"),
        )
        [fields] = self.check("message", self.done_with_complaints("bern", "history", "anna"))
        self.assertEqual(fields["status"], "undelivered")

    def done_with_complaints(self, who: str, *arguments: str) -> str:
        """What a command prints, after one that has complained."""
        self.console.complaints.clear()
        return self.done(who, *arguments, "--json")

    def test_history(self) -> None:
        """Both sides are in the history, and what it says of inbox has the fields that it always had."""
        self.done("anna", "send", "bern", "hello")
        [inbox] = self.check("message", self.done("bern", "inbox", "--json"))
        self.assertEqual(set(FIELDS_OF_INBOX) - set(inbox), set())
        self.done("bern", "send", "anna", "hello yourself")
        theirs, ours = self.check("message", self.done("bern", "history", "anna", "--json"))
        self.assertEqual(theirs, inbox)
        self.assertEqual(
            (ours["mine"], ours["from"], ours["contact"], ours["status"]),
            (True, None, "anna", "stored"),
        )

    def test_contacts(self) -> None:
        """Contacts are listed, and answered where one is made."""
        (self.root / "carl").mkdir()
        self.done("carl", "register", self.address, "carl", "--no-passphrase")
        [added] = self.check("contact", self.done("carl", "add", "anna", "--json"))
        self.assertEqual((added["label"], added["standing"]), ("anna", "accepted"))
        self.done("carl", "send", "anna", "hello")
        self.done("anna", "inbox")
        bern, request = self.check("contact", self.done("anna", "contacts", "--json"))
        self.assertEqual((bern["label"], request["standing"]), ("bern", "request"))
        [accepted] = self.check(
            "contact", self.done("anna", "accept", request["label"], "--label", "carl", "--json")
        )
        self.assertEqual((accepted["label"], accepted["identity"]), ("carl", request["identity"]))

    def test_verify(self) -> None:
        """A safety number is the same on both sides, and verified when that was said."""
        [ours] = self.check("safety", self.done("anna", "verify", "bern", "--json"))
        [theirs] = self.check("safety", self.done("bern", "verify", "anna", "--confirm", "--json"))
        self.assertEqual(ours["number"], theirs["number"])
        self.assertEqual((ours["verified"], theirs["verified"]), (False, True))
        [again] = self.check("safety", self.done("bern", "verify", "anna", "--json"))
        self.assertTrue(again["verified"])

    def test_link(self) -> None:
        """The link is what others add us with."""
        [fields] = self.check("link", self.done("bern", "link", "--json"))
        self.assertEqual(f"{fields['link']}\n", self.done("bern", "link"))
        self.assertEqual(fields["name"], "bern")

    def test_doctor(self) -> None:
        """Whatever the doctor sees is an object, and what is not well has an advice."""
        findings = self.check("finding", self.done("anna", "doctor", "--json"))
        self.assertEqual([each["what"] for each in findings if not each["good"]], [])
        (self.root / "anna/state.kdf").chmod(0o644)
        _, written = self.run_for("anna", "doctor", "--json")
        [bad] = [each for each in self.check("finding", written) if not each["good"]]
        self.assertEqual((bad["what"], bad["advice"]), ("state.kdf", "chmod 600 state.kdf"))
