"""Clients of v3 in a world: the library's cores, with their files, and users who look at them."""

from __future__ import annotations

import re
import shutil
from typing import ClassVar, Final

import sqlcipher3.dbapi2 as sqlcipher
from attrs import define
from twisted.internet.protocol import Factory, Protocol

from messageu.client.v3 import _events as events
from messageu.client.v3._core import Core
from messageu.client.v3._errors import StaleState, StateFailed
from messageu.client.v3._file_receiver import FileReceiver
from messageu.client.v3._file_sender import FileSender
from messageu.client.v3._values import Standing, Status
from messageu.client.v3._vault import open_vault
from messageu.crypto.v3 import FileOffer, Kind
from messageu.wire import NEED_DATA, Parser, RemoteProtocolError, v3
from tests.client.v3.small_pieces import free_space
from tests.simulation.history import Nonsense
from tests.simulation.relay import ProcessTime

from .history import (
    Accepted,
    ClientFailed,
    ClientKilled,
    Copied,
    Delivered,
    Left,
    Missing,
    Overtook,
    Proved,
    Reset,
    Restored,
    Shown,
    Spoilt,
    Stranger,
    Undelivered,
    Unknown,
    Unopened,
    Withheld,
    Wrote,
)

RELAY: Final = "messageu://relay.example:1358#pin"
DOWNLOADS: Final = "downloads"
"""The folder for files that were received, in the profile's."""

PAUSES: Final = (0.0, 0.1, 1.0)
"""Seconds until somebody dials again, or sees to something."""

LONG_PAUSES: Final = (0.1, 1.0, 30.0)
"""Seconds until somebody starts his program again."""

PAUSE_AFTER_FAILURE: Final = 1.0
"""Seconds until somebody tries again what his disk has not done."""

FATES: Final = ("kill", "reset", "vanish")
"""What becomes of the connection of a program that was killed."""


class ProgramKilled(BaseException):
    """A client's process has ended, in the midst of whatever it did."""


class ClientDisk:
    """Where a profile is, and what is wrong with its disk.

    :ivar fuse: steps until the process is killed; each commit has one before it and one after.
    """

    ERRORS: ClassVar = ("database or disk is full", "disk I/O error")
    WRITES: ClassVar = ("INSERT", "UPDATE", "DELETE", "COMMIT")

    def __init__(self, folder, random):
        self._folder = folder
        self._random = random
        self._lives = 1
        self._copies = 0
        self.fuse = None
        self.is_full = self.is_failing = False

    @property
    def path(self):
        return self._folder / f"life-{self._lives}"

    def crash(self):
        """From now on the profile is as a process that is killed now leaves it."""
        self.fuse = None
        self._replace(self.path)

    def copy(self):
        """Copy the profile; the number of the copy."""
        self._copies += 1
        shutil.copytree(self.path, self._folder / f"copy-{self._copies}")
        return self._copies

    def restore(self, number):
        """Put a copy in the place of the profile; the files that were received are those of the
        copy, or stay as they are."""
        kept = self.path / DOWNLOADS
        if kept.exists() and self._random.random() < 0.5:
            copied = self._folder / f"copy-{number}" / DOWNLOADS
            shutil.rmtree(copied, ignore_errors=True)
            shutil.copytree(kept, copied)
        self._replace(self._folder / f"copy-{number}")

    def _replace(self, source):
        old = self.path
        shutil.copytree(source, self._folder / f"life-{self._lives + 1}")
        self._lives += 1
        shutil.rmtree(old)

    def before(self, connection, sql):
        """A statement is about to be executed."""
        verb = sql.split(maxsplit=1)[0]
        if verb == "COMMIT":
            self._step()
        if verb in ("ROLLBACK", "PRAGMA"):
            return
        draw = self._random.random
        full = self.is_full and verb in self.WRITES and (verb == "COMMIT" or draw() < 0.1)
        if full or (self.is_failing and draw() < 0.03):
            if connection.in_transaction and draw() < 0.5:
                connection.execute("ROLLBACK")
            raise sqlcipher.OperationalError(self.ERRORS[not full])

    def after(self, sql):
        """It was."""
        if sql == "COMMIT":
            self._step()

    def _step(self):
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                self.crash()
                raise ProgramKilled


@define
class WatchedConnection:
    """A connection to a profile's database whose disk knows what is executed."""

    inner: object
    disk: ClientDisk

    @property
    def in_transaction(self):
        return self.inner.in_transaction

    def execute(self, sql, parameters=()):
        self.disk.before(self.inner, sql)
        cursor = self.inner.execute(sql, parameters)
        self.disk.after(sql)
        return cursor


class Talk(Protocol):
    """One connection of a program."""

    def __init__(self, program):
        self.program = program
        self.has_withheld = False
        self._parser = Parser(v3.ResponseCodec())

    def dataReceived(self, data):
        self._parser.receive_data(data)
        program = self.program
        try:
            while program.talk is self and (event := self._parser.next_event()) is not NEED_DATA:
                program.hear(event)
        except RemoteProtocolError as error:
            program.world.note(Nonsense(program.name, str(error)))
            self.transport.abortConnection()

    def connectionLost(self, reason=None):
        if self.program.talk is self:
            self.program.lose()


class Program:
    """Somebody's client, and he himself."""

    def __init__(self, world, name):
        self.world = world
        self.name = name
        self.talk = None
        self.lines = []
        self.withheld = 0
        self.has_prekeys = False
        self._failures = 0
        self._is_old = False
        self._has_looked = True
        self.time = ProcessTime(world.clock, alive=False)
        folder = world.folder / name
        folder.mkdir()
        self.disk = ClientDisk(folder, world.random)
        self._vault = None
        self._timer = None
        self._dialling = None
        # What he has seen: of each message what became of it, and how many are missing.
        self._seen = {}
        self._missing = {}
        self._copies = {}
        self._dialled_since = self._connected_since = frozenset()
        self._texts = {}
        self._said = 0
        self._receiver = None
        with open_vault(self.disk.path, None, create=True) as vault:
            core = Core.create(vault.connection, RELAY, now=world.now, random=self._random)
            core.register(name)
            self.identity = core.profile.identity
        world.names[self.identity] = name

    def _random(self, size):
        return self.world.random.randbytes(size)

    def add_contact(self, other):
        """Know somebody, before all begins."""
        with open_vault(self.disk.path, None) as vault:
            Core(vault.connection, now=self.world.now, random=self._random).add_contact(
                other.identity, other.name
            )

    # Its life.

    @property
    def alive(self):
        return self.time.alive

    def start(self):
        """Begin, with what the last process has left."""
        if self.alive:
            return
        self.time = ProcessTime(self.world.clock)
        self._vault = open_vault(self.disk.path, None)
        connection = WatchedConnection(self._vault.connection, self.disk)
        self._timer = self._dialling = None
        self._receiver = FileReceiver(
            self.disk.path / DOWNLOADS, random=self._random, free=free_space
        )
        self.core = Core(
            connection,
            now=self.world.now,
            random=self._random,
            file_sender=FileSender(self._random),
            file_receiver=self._receiver,
        )
        self._has_looked = False
        self._do(self._look_once)
        self._dial_later()

    def kill(self):
        """The process ends between two things that it does."""
        if self.alive:
            self.disk.crash()
            self._bury(self.world.random.choice(FATES))

    def vanish(self):
        """Its machine loses its network: nobody hears of the connection again."""
        if self.alive and self.talk is not None:
            self.talk = None
            self._cut_lines("vanish")
            self._do(self.core.disconnected)
            self._dial_later()

    def close(self):
        """It is over."""
        self.time.alive = False
        if self._receiver is not None:
            self._receiver.close()
        if self._vault is not None:
            self._vault.close()

    def go(self):
        """Close the connection, and do nothing more."""
        talk, self.talk = self.talk, None
        self.time.alive = False
        if talk is not None:
            talk.transport.loseConnection()

    def _bury(self, fate):
        self.world.note(ClientKilled(self.name))
        self.talk = None
        self._cut_lines(fate)
        self.close()
        self._start_later()

    def _start_later(self):
        pause = 0.0 if self.world.calm else self.world.random.choice(LONG_PAUSES)
        self.world.clock.callLater(pause, self.start)

    def _cut_lines(self, fate):
        for line in self.lines:
            if fate == "kill":
                line.client.kill()
            elif fate == "reset":
                line.reset()
            else:
                line.client.held = line.server.held = True
        self.lines = []

    def calm_down(self):
        """All is well from now on."""
        self.disk.is_full = self.disk.is_failing = False
        self.disk.fuse = None
        self.withheld = 0
        if self.talk is not None and self.talk.has_withheld:
            self.talk.transport.abortConnection()
        if self.alive:
            self._do(self._see_to_requests)

    def _do(self, act, *arguments):
        """Do something, and what follows from it. The program may die of it, or fail."""
        self._try(act, *arguments)
        failures = self._failures
        if self.alive:
            self._try(self._go_on)
        if self.alive and self._failures != failures:
            self._set_timer(PAUSE_AFTER_FAILURE)

    def _try(self, act, *arguments):
        try:
            return act(*arguments)
        except ProgramKilled:
            self._bury(self.world.random.choice(FATES))
        except StateFailed:
            self._failures += 1
            self.world.note(ClientFailed(self.name))
        return None

    def _go_on(self):
        """Hear what there is, write what is to be written, and wait for the time."""
        self._look_once()
        self._hear_events()
        if self.talk is not None:
            while self.core.verdict is None and (requests := self.core.requests()):
                for request in requests:
                    if not isinstance(request.body, v3.Hello | v3.Authenticate | v3.Ping):
                        self.world.note(Wrote(self.name, type(request.body).__name__))
                    self.talk.transport.write(request.encode())
            if self.core.verdict is not None:
                self._obey(self.core.verdict)
        self._set_timer()

    def _obey(self, verdict):
        talk, self.talk = self.talk, None
        talk.transport.loseConnection()
        self.core.disconnected()
        self._dial_later(verdict.retry_after or 0.0)

    def _set_timer(self, at_least=0.0):
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        try:
            time = self.core.next_tick()
        except StateFailed:
            time, at_least = 0.0, PAUSE_AFTER_FAILURE
        if time is not None:
            pause = max(at_least, time - self.world.now())
            self._timer = self.time.callLater(pause, self._tick)

    def _tick(self):
        failures = self._failures
        self._do(self.core.tick)
        if self.alive and self._failures != failures:
            # As any program does, so that it is not busy until the disk has room.
            self._set_timer(PAUSE_AFTER_FAILURE)

    # Its connection.

    def _dial_later(self, at_least=0.0):
        if self._dialling is None or not self._dialling.active():
            pause = max(at_least, self.world.random.choice(PAUSES))
            self._dialling = self.time.callLater(pause, self._dial)

    def _dial(self):
        if self.talk is not None:
            return
        try:
            self.core.begin()
        except StaleState:
            self._do(self._reset)
            self._dial_later()
            return
        except ProgramKilled:
            self._bury("kill")
            return
        except StateFailed:
            self._dial_later(1.0)
            return
        # Copies that were made before it are older than what the relay is shown now.
        self._dialled_since = frozenset(self._copies)
        found = []
        connecting = self.world.network.endpoint().connect(Factory.forProtocol(lambda: Talk(self)))
        connecting.addCallbacks(found.append, lambda _: None)
        if not found:
            self._dial_later(0.1)
            return
        (self.talk,) = found
        line = self.world.network.lines[-1]
        self.lines = [line]
        self._do(self.core.connected, line.server.protocol.binding)

    def hear(self, response):
        """The relay says something. It may hold back mail, which it says again to the next."""
        if self.withheld and isinstance(response.body, v3.Deliver):
            self.withheld -= 1
            self.world.note(Withheld(self.name))
            self.talk.has_withheld = True
            return
        self._do(self.core.receive, response)

    def lose(self):
        """The connection is gone."""
        self.talk = None
        if self.alive:
            self._do(self.core.disconnected)
            self._dial_later()

    # What its user does.

    def say(self):
        """Write something to somebody."""
        if not self.alive:
            return
        for _ in range(self.world.random.choice((1, 1, 1, 4))):
            if self.alive:
                self._do(self._say)

    def _say(self):
        self._look_once()
        contacts = [each for each in self.core.contacts() if each.standing is Standing.ACCEPTED]
        if contacts:
            contact = self.world.random.choice(contacts)
            self._said += 1
            size = self.world.random.choice((0, 0, 0, 30))
            text = f"{self.name} {self._said} to {contact.label}{' and so on' * size}"
            message_id = self.core.send_text(contact.identity, text)
            self._accepted(message_id, contact.label, text)

    def send_file(self):
        """Send a file to somebody."""
        if self.alive:
            self._do(self._send_file)

    def _send_file(self):
        self._look_once()
        contacts = [each for each in self.core.contacts() if each.standing is Standing.ACCEPTED]
        if contacts:
            contact = self.world.random.choice(contacts)
            self._said += 1
            name = f"{self.name} file {self._said} to {contact.label}"
            content = self._random(self.world.random.choice((0, 1, 64, 65, 300, 1_000)))
            self.world.files[name] = content
            path = self._source(name)
            path.write_bytes(content)
            message_id = self.core.send_file(contact.identity, path)
            self._accepted(message_id, contact.label, name, is_file=True)

    def _source(self, name):
        folder = self.world.folder / f"{self.name}'s files"
        folder.mkdir(exist_ok=True)
        return folder / name

    def spoil_file(self):
        """Remove a file that was sent, or write something else into it."""
        random = self.world.random
        mine = [name for name in self.world.files if name.startswith(f"{self.name} ")]
        if mine:
            name = random.choice(mine)
            self.world.note(Spoilt(self.name, name))
            path = self._source(name)
            path.unlink(missing_ok=True)
            if random.random() < 0.5:
                path.write_bytes(random.randbytes(len(self.world.files[name])))

    def _accepted(self, message_id, recipient, text, *, is_file=False):
        self._seen[message_id] = None
        self._texts[message_id] = text
        self.world.note(Accepted(self.name, recipient, text, is_file))

    def _see_to_requests(self):
        for contact in self.core.message_requests():
            self.world.note(Stranger(self.name, self.world.names[contact.identity]))
            self.core.accept(contact.identity, self.world.names[contact.identity])

    def _reset(self):
        self.core.reset()
        self._is_old = False
        self.world.note(Reset(self.name))

    def copy(self):
        """Make a copy of the profile."""
        if self.alive:
            number = self.disk.copy()
            self._copies = {number: (dict(self._seen), dict(self._missing))}
            self._dialled_since = self._connected_since = frozenset()
            self.world.note(Copied(self.name, number))

    def restore(self):
        """Go on with a copy, when the relay has met a later state."""
        for number in self._connected_since:
            if self.alive:
                self.time.alive = False
                self.talk = None
                self._cut_lines("reset")
                self.close()
                self._start_later()
            self.disk.restore(number)
            self._is_old = True
            self._seen, self._missing = self._copies.pop(number)
            self.world.note(Restored(self.name, number))
        self._dialled_since = self._connected_since = frozenset()

    # What its user sees.

    def _hear_events(self):
        for event in self.core.events():
            see = _SEEN.get(type(event))
            if see is not None:
                see(self, event)

    def _look_once(self):
        """Look before anything else is done, as soon as the disk lets us."""
        if not self._has_looked:
            self._look()
            self._has_looked = True

    def _look(self):
        """See what there is that no event has told of: the last process may have died of it."""
        for message in self.core.messages(limit=10**6):
            name = self.world.names[message.contact]
            if message.mine:
                if message.message_id not in self._seen:
                    is_file = message.kind == Kind.FILE
                    self._accepted(message.message_id, name, _text_of(message), is_file=is_file)
                self._see_status(message.message_id, message.status, message.why)
            elif message.message_id not in self._seen:
                self._see_message(message)
        for contact in (*self.core.contacts(), *self.core.message_requests()):
            self._see_missing(contact.identity, contact.missing)
        self._see_to_requests()

    def _see_message(self, message):
        """A text; a file, only if it is there."""
        path = self._path_of(message)
        if path is not None:
            self._see_file(message.contact, message.message_id, path)
        elif message.kind == Kind.TEXT:
            self._see(message.contact, message.message_id, message.text)

    def _path_of(self, message):
        return self._receiver.path_of(self._vault.connection, message.contact, message.message_id)

    def _see_file(self, contact, message_id, path):
        name = re.sub(r" \(\d+\)\Z", "", path.name)
        intact = path.read_bytes() == self.world.files.get(name)
        self._see(contact, message_id, name if intact else f"{name}, which is another file")

    def _see(self, contact, message_id, text):
        self._seen[message_id] = None
        self.world.note(Shown(self.name, self.world.names[contact], text))

    def _see_status(self, message_id, status, why):
        if status not in (Status.DELIVERED, Status.UNDELIVERED) or status is self._seen[message_id]:
            return
        self._seen[message_id] = status
        text = self._texts[message_id]
        if status is Status.DELIVERED:
            self.world.note(Delivered(self.name, text))
        else:
            self.world.note(Undelivered(self.name, text, why.name))

    def _see_missing(self, identity, number):
        sender = self.world.names[identity]
        if self._missing.get(sender, 0) != number:
            self._missing[sender] = number
            self.world.note(Missing(self.name, sender, number))

    def _hear_connected(self, _):
        if self._is_old:
            self._is_old = False
            self.world.note(Overtook(self.name))
        if self.core.profile.registered:
            self._connected_since = self._dialled_since

    def _hear_prekeys(self, _):
        self.has_prekeys = True

    def _hear_request(self, event):
        self.world.note(Stranger(self.name, self.world.names[event.contact]))
        self.time.callLater(self.world.random.choice(LONG_PAUSES), self._do, self._see_to_requests)

    # The end.

    @property
    def settled(self):
        """Whether all that he has said has come to an end."""
        return self.alive and not self._stock()

    def _stock(self):
        execute = self._vault.connection.execute
        return [what for what, sql in _STOCK.items() if execute(sql).fetchone() != (0,)]

    def take_stock(self):
        """Note what is not as it should be."""
        self._do(self._look)
        for what in self._stock():
            self.world.note(Left(self.name, what))
        messages = [each for each in self.core.messages(limit=10**6) if not each.mine]
        shown = [
            _text_of(message)
            for message in messages
            if message.kind == Kind.TEXT or self._path_of(message) is not None
        ]
        if len(shown) != len(set(shown)):
            self.world.note(Left(self.name, "a text that is there twice"))


_STOCK: Final = {
    "a message without an end": "SELECT COUNT(*) FROM messages WHERE status IN (0, 1, 2)",
    "something in the outbox": "SELECT COUNT(*) FROM outbox",
    "a receipt that is not sent": "SELECT COUNT(*) FROM receipts",
    "a renewal that is not sent": "SELECT COUNT(*) FROM contacts WHERE renew",
    "a file that is to be sent": "SELECT COUNT(*) FROM outgoing_files",
    "a file that is to come": "SELECT COUNT(*) FROM incoming_files WHERE stage < 3",
}


def _text_of(message):
    """A text, or the name of a file."""
    is_file = message.kind == Kind.FILE
    return FileOffer.decode(message.body).name if is_file else message.text


_SEEN: Final = {
    events.MessageReceived: lambda it, event: it._see_message(event.message),
    events.FileReceived: lambda it, event: it._see_file(
        event.contact, event.message_id, event.path
    ),
    events.MessageDelivered: lambda it, event: it._see_status(
        event.message_id, Status.DELIVERED, None
    ),
    events.MessageUndelivered: lambda it, event: it._see_status(
        event.message_id, Status.UNDELIVERED, event.why
    ),
    events.MessagesMissing: lambda it, event: it._see_missing(event.contact, event.count),
    events.Unopened: lambda it, event: it.world.note(Unopened(it.name, event.count)),
    events.Connected: Program._hear_connected,
    events.PrekeysPublished: Program._hear_prekeys,
    events.RequestReceived: Program._hear_request,
}


PATIENCE: Final = 120
"""Seconds within which everybody is registered before the faults begin."""


def populate(world):
    """People who know each other, or are about to; most often all have accounts already."""
    random = world.random
    people = [Program(world, f"person-{number}") for number in range(random.randint(2, 5))]
    for one in people:
        for other in people:
            if one is not other and random.random() < 0.8:
                one.add_contact(other)
            elif one is not other:
                world.note(Unknown(one.name, other.name))
    for person in people:
        person.start()
    if random.random() < 0.9:
        for _ in range(PATIENCE):
            world.network.wait(1.0, 1.0)
            if all(person.has_prekeys for person in people):
                break
    world.programs.extend(people)


PAUSES_AT_REST: Final = (0.0, 0.1, 8.0, 32.0, 8.0, 8.0)
"""Days that go by at the end, as long as somebody waits for something: a renewal that has to wait
for its hour, an outbox that is given up, mail whose life is over."""


def come_to_rest(world):
    """Let everybody say what he has to say, and hear what became of it; then look what is left."""
    for days in PAUSES_AT_REST:
        world.let_pass(days)
        world.rest(60.0, 1.0)
        world.rest(900.0, 5.0)
        if all(program.settled for program in world.programs):
            break
    for program in world.programs:
        program.take_stock()


PROMPTLY: Final = 10.0
"""Seconds within which a text comes where nothing is wrong. A relay that cannot hear of another's
mail looks for it every two, and who finds a mailbox full tries again some later."""


def prove_service(world):
    """Have everybody say something more, if nothing waits for anything else, and see whether it comes
    soon. Where somebody has gone on with a copy it may take until a session was renewed."""
    is_settled = all(program.settled for program in world.programs)
    has_forgotten = any(isinstance(event, Restored | Reset) for event in world.history)
    if has_forgotten or not is_settled:
        return
    before = len(world.history)
    for program in world.programs:
        program.say()
    world.rest(PROMPTLY)
    since = world.history[before:]
    ended = {event.text for event in since if isinstance(event, Shown | Undelivered)}
    said = [event for event in since if isinstance(event, Accepted)]
    for event in said:
        if event.text not in ended:
            world.note(Left(event.sender, f"a text of {PROMPTLY} seconds ago"))
    if said:
        world.note(Proved(len(said)))
    # Until whoever is a stranger was accepted, and told that what he said has come.
    world.rest(60.0)
