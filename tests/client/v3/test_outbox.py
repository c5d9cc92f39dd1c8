"""What is sent, how often it is tried, and when it is given up."""

from messageu.client.v3 import _account as account
from messageu.client.v3 import _events as events
from messageu.client.v3 import _outbox as outbox
from messageu.client.v3._errors import (
    FilesUnavailable,
    StateFailed,
    TextInvalid,
)
from messageu.client.v3._values import Status, Why
from messageu.model.v3 import Reason
from messageu.wire import v3

from .harness import (
    MAIL_LIFE,
    PairTestCase,
)

DAY = 86_400.0
HOUR = 3_600.0


class OutboxTests(PairTestCase):
    def test_repeats_the_same_bytes(self):
        """What was not answered is sent again as it was."""
        self.met()
        self.say(self.alice, "bob", "again")
        self.relay.seen.clear()
        for _ in range(3):
            self.alice.write()
            self.alice.hang_up()
            self.alice.dial()
            while not self.alice.core.admitted:
                self.alice.step()
        self.settle()
        sent = {body for body in self.relay.seen if isinstance(body, v3.Send)}
        texts = [body for body in sent if body.envelope.recipient == self.bob.identity.account_id]
        self.assertEqual(len(texts), 1)
        self.assertEqual(self.bob.received(), ["hello", "again"])

    def test_retryable_refusals(self):
        """A contact whose mailbox is full is left alone for a while, then tried again."""
        self.met()
        for reason in (Reason.MAILBOX_FULL, Reason.BUSY, Reason.INTERNAL, Reason.RATE_LIMITED):
            self.relay.refusals[v3.Send] = [v3.Error(reason, 30)]
            self.say(self.alice, "bob", reason.name)
            self.say(self.alice, "bob", f"behind {reason.name}")
            self.alice.go()
            self.assertEqual(self.alice.core.next_tick(), self.clock.time + 30)
            self.assertEqual(self.alice.statuses()[reason.name], Status.SEALED)
            self.clock.time += 30
            self.settle()
            self.assertEqual(self.bob.received()[-2:], [reason.name, f"behind {reason.name}"])

    def test_final_refusals(self):
        """What a relay will never take ends, and what is behind it goes on."""
        self.met()
        for reason, why in (
            (Reason.CONFLICT, Why.REFUSED),
            (Reason.TOO_LARGE, Why.TOO_LARGE),
            (Reason.NOT_FOUND, Why.NO_ACCOUNT),
        ):
            self.relay.refusals[v3.Send] = [v3.Error(reason)]
            message_id = self.say(self.alice, "bob", reason.name)
            self.say(self.alice, "bob", f"behind {reason.name}")
            self.settle()
            self.assertIn(
                events.MessageUndelivered(message_id, why),
                self.alice.told(events.MessageUndelivered),
            )
            self.assertEqual(self.bob.received()[-1], f"behind {reason.name}")
        self.assertEqual(self.bob.core.contact("alice").missing, 3)

    def test_gives_up_after_a_week(self):
        """An envelope that was tried for a week is given up."""
        self.met()
        self.relay.refusals[v3.Send] = [v3.Error(Reason.MAILBOX_FULL, 8 * 86_400)]
        message_id = self.say(self.alice, "bob", "never")
        self.alice.go()
        self.later(account.OUTBOX_LIFE)
        self.assertEqual(
            self.alice.told(events.MessageUndelivered),
            [events.MessageUndelivered(message_id, Why.GAVE_UP)],
        )

    def test_expires_without_receipt(self):
        """What was not receipted while its mail lived was not delivered; the next message renews
        the session."""
        self.met()
        before = self.sessions(self.alice)
        self.bob.hang_up()
        message_id = self.say(self.alice, "bob", "lost")
        self.alice.go()
        self.later(MAIL_LIFE + outbox.MAIL_SLACK)
        self.assertEqual(
            self.alice.told(events.MessageUndelivered),
            [events.MessageUndelivered(message_id, Why.EXPIRED)],
        )
        self.bob.core.tick()
        self.bob.go()
        self.clock.time += 200
        self.bob.core.tick()
        self.bob.go()
        self.settle(10)
        self.assertNotEqual(self.sessions(self.alice), before)
        self.assertEqual(self.sessions(self.alice)[0], self.sessions(self.bob)[0])

    def test_full_disk_keeps_nothing(self):
        """What cannot be committed was not done, and is said to whoever asked."""
        self.met()
        execute = self.alice.database.execute

        def full(sql, parameters=()):
            if sql == "COMMIT":
                execute("THIS IS NO SQL")
            return execute(sql, parameters)

        self.alice.database.execute = full
        self.assertRaises(StateFailed, self.say, self.alice, "bob", "not kept")
        self.assertIsNone(self.alice.core.verdict)
        self.say(self.bob, "alice", "to a full disk")
        self.bob.go()
        self.alice.write()
        self.assertRaises(StateFailed, self.alice.read)
        self.assertTrue(self.alice.core.verdict.reconnect)
        del self.alice.database.execute
        self.alice.hang_up()
        self.settle()
        self.assertEqual(self.alice.received(), ["hello too", "to a full disk"])
        self.assertEqual(self.alice.core.profile.unopened, 0)

    def test_withdraws(self):
        """What waits can be withdrawn; what is on its way cannot."""
        self.alice.hang_up()
        message_id = self.say(self.alice, "bob", "no")
        self.assertTrue(self.alice.core.withdraw(message_id))
        self.assertFalse(self.alice.core.withdraw(message_id))
        self.settle()
        self.assertEqual(self.bob.received(), [])

    def test_texts_that_cannot_be(self):
        """A text has 1 to 65,536 bytes of UTF-8, and the longest arrives."""
        for text in ("", "x" * 65_537, "é" * 32_769, "\ud800"):
            self.assertRaises(TextInvalid, self.say, self.alice, "bob", text)
        self.say(self.alice, "bob", "é" * 32_768)
        self.settle()
        self.assertEqual(self.bob.received(), ["é" * 32_768])

    def test_no_files(self):
        """A client without a place for files says so."""
        self.assertRaises(FilesUnavailable, self.alice.core.send_file, "bob", None)
