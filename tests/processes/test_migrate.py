"""A relay's database is moved to PostgreSQL by the operator's command, and served from there."""

from __future__ import annotations

from messageu.testing.postgres import NoServerError, Schema
from tests.sockets.client import fetch, message, messages_in

from .children import ANY_PORT
from .test_backup import AdminTestCase

LARGE = bytes(range(256)) * 1024


class MigrateTests(AdminTestCase):
    """What docs/operations.md tells an operator to do."""

    def setUp(self) -> None:
        super().setUp()
        try:
            self.schema = Schema()
        except NoServerError as error:
            self.skipTest(str(error))
        self.addCleanup(self.schema.remove)

    def test_moved(self) -> None:
        """Mail waits on under its ids and in its order, and more comes behind it. Where not
        everything is yet no relay starts."""
        relay = self.start(*ANY_PORT)
        client = relay.dial()
        anna, bert = client.register(b"anna"), client.register(b"bert")
        contents = [b"one", LARGE, b"three"]
        for content in contents:
            self.assertEqual(client.ask(message(bert, anna, content)).code, 2103)
        client.close()
        relay.stop()
        moved = self.succeed("migrate", "--from", "defensive.db", "--to", self.schema.address)
        self.assertIn("mailbox_message: 3 rows", moved)
        served = (*ANY_PORT, "-d", self.schema.address)

        self.schema.execute("UPDATE relay_migration SET finished = NULL")
        finished = self.run_to_end(self.command("twistd", *served))
        self.assertNotEqual(finished.returncode, 0)
        self.assertRegex(
            finished.stderr, r"\Amessageu: [^\n]*migration[^\n]*is not finished[^\n]*\n\Z"
        )

        self.schema.execute("UPDATE relay_migration SET finished = now()")
        client = self.start(*served).dial()
        self.assertEqual(client.ask(message(anna, anna, b"four")).code, 2103)
        waiting = messages_in(client.ask(fetch(anna)))
        client.close()
        self.assertEqual([each.content for each in waiting], [*contents, b"four"])
        numbers = [each.number for each in waiting]
        self.assertEqual((numbers[:3], numbers), ([1, 2, 3], sorted(set(numbers))))
