"""Whatever happens, each text is shown once or reported: many seeds, and what would be noticed."""

import shutil
from unittest import mock

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from messageu.client.v3 import _history as history_of_client
from messageu.client.v3 import _outbox as outbox
from messageu.client.v3 import _transfers as transfers
from messageu.client.v3._file_receiver import FileReceiver
from messageu.store.v3 import _operations as operations
from messageu.store.v3 import _statements as statements
from tests.simulation.judge import digests_elsewhere
from tests.torture import scaled

from . import clients
from .judge import DoubterOfV3, JudgeOfV3, digest


class SimulationTests(JudgeOfV3):
    """The seeds of this run."""

    def test_whatever_breaks(self):
        """Each accepted text or file is shown once, as it was, or reported to its sender, and nobody
        is told lies."""
        self.judge_all(scaled(6, 500))


class DeterminismTests(SynchronousTestCase):
    """A seed says everything."""

    def test_same_again(self):
        """The same seed gives the same history, also in a process that hashes in another way."""
        self.assertEqual(digests_elsewhere(__name__, [1]), [digest(1)])
        self.assertNotEqual(digest(2), digest(1))


class BrokenTests(DoubterOfV3):
    """Clients and relays that are broken, and how soon that is noticed."""

    def test_acknowledged_before_the_commit(self):
        """Mail is missed that was acknowledged before it was on the client's disk."""
        with mock.patch.object(clients, "ClientDisk", ForgetfulDisk):
            self.first_noticed("lost", "needless")

    def test_message_ids_forgotten(self):
        """A client that does not know the ids of what has come shows what is sent again twice."""
        keep = history_of_client.keep_received

        def careless(unit, of, message):
            unit.execute(
                "DELETE FROM messages WHERE NOT mine AND message_id = ?", message.message_id
            )
            return keep(unit, of, message)

        with (
            mock.patch.object(history_of_client, "has_come", lambda *_: False),
            mock.patch.object(history_of_client, "keep_received", careless),
        ):
            self.first_noticed("twice")

    def test_files_receipted_early(self):
        """A client that receipts a file when it is offered says what is not true yet."""
        take_offer = transfers.take_offer

        def careless(unit, of, message_id, offer):
            take_offer(unit, of, message_id, offer)
            transfers.note(unit, of, message_id)

        with mock.patch.object(transfers, "take_offer", careless):
            self.first_noticed("receipts")

    def test_files_not_compared(self):
        """A client that does not look at a file before it gives it its name shows another one."""

        def careless(self, connection, file):
            return self._choose(connection, file)

        write = FileReceiver._write

        def torn(self, file, offset, content):
            write(self, file, offset, content[:-1])

        with (
            mock.patch.object(FileReceiver, "_read_on", careless),
            mock.patch.object(FileReceiver, "_write", torn),
        ):
            self.first_noticed("made up")

    def test_bytes_that_change(self):
        """A client that tries again with other bytes is refused, or cannot be read."""
        to_send, tried = outbox.to_send, set()

        def careless(unit, busy, limit):
            envelopes = to_send(unit, busy, limit)
            again = tried.intersection(each.envelope_id for each in envelopes)
            tried.update(each.envelope_id for each in envelopes)
            return [
                evolve(each, sealed=unit.random(len(each.sealed)))
                if each.envelope_id in again
                else each
                for each in envelopes
            ]

        with mock.patch.object(outbox, "to_send", careless):
            self.first_noticed("needless", first=3)

    def test_tombstones_forgotten(self):
        """A relay that forgets what was acknowledged takes it again from who was not answered."""
        delete = operations._delete_mail

        def careless(work, mail):
            mail = list(mail)
            delete(work, mail)
            statements.delete_tombstones(work.cursor, [place for place, _, _ in mail])

        with mock.patch.object(operations, "_delete_mail", careless):
            self.first_noticed("needless", first=10)


class ForgetfulDisk(clients.ClientDisk):
    """A client's disk that has not got the last commit when the process dies."""

    def before(self, connection, sql):
        super().before(connection, sql)
        if sql == "COMMIT":
            shutil.rmtree(self._stale, ignore_errors=True)
            shutil.copytree(self.path, self._stale)

    def crash(self):
        self.fuse = None
        self._replace(self._stale if self._stale.exists() else self.path)

    @property
    def _stale(self):
        return self._folder / "stale"
