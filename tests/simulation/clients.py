"""Clients of v2 in a world: what they say, how they behave, and what reaches them.

A :class:`Person` has a mailbox, a :class:`Program` acts for one, and a :class:`Talk` is one
connection of a program. How a program behaves is a coroutine; the world may kill it anywhere.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IHalfCloseableProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from messageu.client._errors import ClientError
from messageu.client._protocol import Patience
from messageu.client._relay import Destination, Relay
from messageu.model import NOBODY, ClientId, PublicKey, UserName
from messageu.wire import NEED_DATA, Parser, RemoteProtocolError, v2

from .history import (
    Acknowledged,
    Answered,
    Joined,
    Nonsense,
    Probed,
    Received,
    Refused,
    Sent,
)
from .relay import ProcessTime

KEY: Final = PublicKey(bytes(160))
SMALL: Final = (4, 5, 20, 60, 300)
LARGE: Final = (3_000, 70_000)
"""Bytes of a message; the largest is in pieces in the database."""


class Lost(Exception):
    """The connection has gone, or did not come about."""


@define(eq=False)
class Person:
    """Somebody who is, or wants to be, registered."""

    name: str
    client_id: ClientId | None = None
    attempts: int = 0


@frozen
class Letter:
    """What is to be sent until it is acknowledged."""

    recipient: Person
    size: int


@define(eq=False)
class Post:
    """Everybody, what is to be sent, and what was: the numbers of attempts and connections."""

    world: Any
    people: list[Person] = field(factory=list)
    attempts: int = 0
    talks: int = 0

    def name_of(self, client_id):
        for person in self.people:
            if person.client_id == client_id:
                return person.name
        return client_id.hex

    def attempt(self, sender, letter, talk):
        """The request that sends a letter, noted as sent; and the attempt's number."""
        number, self.attempts = self.attempts, self.attempts + 1
        pattern = number.to_bytes(4, "big")
        content = (pattern * (letter.size // 4 + 1))[: letter.size]
        self.world.note(Sent(number, sender.name, letter.recipient.name, content, talk))
        return number, v2.SendMessage(letter.recipient.client_id, 3, content)

    def received(self, mailbox, message):
        """A message has reached a client."""
        self.world.note(
            Received(
                mailbox.name,
                self.name_of(message.sender),
                message.message_id.number,
                message.content,
            )
        )


@frozen
class _Asked:
    """A request that is to be answered.

    :ivar end: what may answer it, but for 9000.
    """

    end: type
    answer: Deferred
    attempt: int | None = None


@frozen
class Answer:
    """``end`` is the event that ended it, after so many items; None: the connection is lost."""

    end: Any
    count: int = 0

    def checked(self):
        """Itself.

        :raises Lost: when there is none.
        """
        if self.end is None:
            raise Lost
        return self

    @property
    def refused(self):
        return isinstance(self.end, v2.GeneralError)


ENDS: Final = {
    v2.Register: v2.Registered,
    v2.ListClients: v2.EndOfClients,
    v2.GetPublicKey: v2.PublicKeyOf,
    v2.SendMessage: v2.Stored,
    v2.FetchMessages: v2.EndOfMessages,
}
_ENDS: Final = (*ENDS.values(), v2.GeneralError)

DONE: Final = "done"
"""What a behaviour ends with that has nothing more to do."""


@implementer(IHalfCloseableProtocol)
class Talk(Protocol):
    """One connection of a program.

    What has reached the client is judged beside what its program does: the program reads, and when
    it has said that it sends no more, what its kernel has counts as well.
    """

    def __init__(self, program):
        post = program.post
        self.number, post.talks = post.talks, post.talks + 1
        self._program = program
        self._post = post
        self._asked = deque()
        self._items = 0
        self._said_enough = False
        self._gone = False
        self._answers = Parser(v2.ResponseCodec())
        self._receipts = Parser(v2.ResponseCodec())
        self._read = 0
        self._receipted = 0

    # What a program may do.

    def ask(self, *bodies):
        """Send requests, all at once. A Deferred of each answer."""
        return self._write(
            [_Asked(ENDS[type(body)], Deferred()) for body in bodies],
            [
                v2.Request(self._program.person.client_id or NOBODY, body).encode()
                for body in bodies
            ],
        )

    def send(self, letters, *, last=b""):
        """Send letters, all at once, and raw bytes behind them. A Deferred of each answer."""
        asked, frames = [], []
        sender = self._program.person
        for letter in letters:
            number, body = self._post.attempt(sender, letter, self.number)
            asked.append(_Asked(v2.Stored, Deferred(), number))
            frames.append(v2.Request(sender.client_id, body).encode())
        return self._write(asked, [*frames, last])

    def say(self, data):
        """Send bytes that are to be answered with 9000."""
        return self._write([_Asked(v2.GeneralError, Deferred())], [data])

    def say_enough(self):
        """Shut down the sending half."""
        self._said_enough = True
        self.transport.loseWriteConnection()
        self.look()

    def close(self):
        self.transport.loseConnection()

    def reset(self):
        self.transport.abortConnection()

    def _write(self, asked, frames):
        if self._gone:
            raise Lost
        self._asked.extend(asked)
        data = b"".join(frames)
        with contextlib.suppress(OSError):
            # The kernel has it before anything else arrives: it cannot be taken for a reply.
            data = data[self.transport.send(data) :]
        self.transport.write(data)
        return [each.answer for each in asked]

    # What the transport tells.

    def dataReceived(self, data):
        self._read += len(data)
        self._receipt(data[max(0, len(data) - (self._read - self._receipted)) :])
        self._answers.receive_data(data)
        try:
            while (event := self._answers.next_event()) is not NEED_DATA:
                self._take(event)
        except RemoteProtocolError as error:
            self._nonsense(str(error))

    def readConnectionLost(self):
        self._lose()
        self.close()

    def writeConnectionLost(self):
        pass

    def connectionLost(self, reason=None):
        self._lose()

    def look(self):
        """See what the kernel has, if that counts."""
        if self._said_enough:
            inbox = self.transport.inbox()
            self._receipt(inbox[self._receipted - self._read :])

    def _receipt(self, data):
        if data:
            self._receipted += len(data)
            self._receipts.receive_data(data)
            try:
                while (event := self._receipts.next_event()) is not NEED_DATA:
                    if isinstance(event, v2.WaitingMessage):
                        self._post.received(self._program.person, event)
            except RemoteProtocolError:
                pass  # it is reported when it is read

    def _take(self, event):
        if not isinstance(event, _ENDS):
            self._items += 1
            return
        if not self._asked:
            # A frame that takes too long, or too much room, is refused before it has ended.
            if not isinstance(event, v2.GeneralError):
                self._nonsense(f"{type(event).__name__} that nobody asked for")
            return
        asked = self._asked.popleft()
        if not isinstance(event, asked.end | v2.GeneralError):
            self._nonsense(f"{type(event).__name__} instead of {asked.end.__name__}")
        elif asked.attempt is not None:
            self._note_outcome(asked.attempt, event)
        count, self._items = self._items, 0
        asked.answer.callback(Answer(event, count))

    def _note_outcome(self, attempt, event):
        if isinstance(event, v2.Stored):
            self._post.world.note(Acknowledged(attempt, event.message_id.number))
        else:
            self._post.world.note(Refused(attempt))

    def _nonsense(self, what):
        self._post.world.note(Nonsense(self._program.person.name, what))
        self.reset()

    def _lose(self):
        self._gone = True
        asked, self._asked = self._asked, deque()
        for each in asked:
            each.answer.callback(Answer(None))


@implementer(IStreamClientEndpoint)
@define(eq=False)
class _Way:
    """A program's way to the relay, which knows its lines."""

    program: Any

    def connect(self, protocolFactory):  # noqa: N803
        network = self.program.world.network
        connecting = network.endpoint().connect(protocolFactory)
        if connecting.called and network.lines:
            line = network.lines[-1]
            if line not in self.program.lines:
                self.program.lines.append(line)
        return connecting


class Program:
    """Does the same again and again in somebody's name, until the world is calm."""

    def __init__(self, post, person, behave, letters=()):
        self.post = post
        self.world = post.world
        self.person = person
        self.letters = deque(letters)
        self.lines = []
        self.way = _Way(self)
        self.time = ProcessTime(self.world.clock)
        self._behave = behave

    def start(self):
        """Begin, and live on as a new process when this one is killed."""
        self.time = ProcessTime(self.world.clock)
        self.lines.clear()
        living = Deferred.fromCoroutine(self._live(self.time))
        living.addErrback(self.world.failures.append)

    def kill(self):
        """The process ends; another one begins a little later."""
        self.time.alive = False
        for line in self.lines:
            line.client.kill()
        self.world.clock.callLater(self.world.random.choice((0.1, 1.0)), self._begin_again)

    def vanish(self):
        """Its machine is never heard of again, nor does anything reach it."""
        self.time.alive = False
        for line in self.lines:
            line.client.held = line.server.held = True
        self.lines.clear()
        self.world.clock.callLater(1.0, self._begin_again)

    async def _live(self, time):
        while time.alive and not self.world.calm:
            try:
                if await self._behave(self) is DONE:
                    return
            except Lost:
                pass
            await self.sleep(0.05, 0.5, 2.0)

    def _begin_again(self):
        if not self.world.calm and not self.time.alive:
            self.start()

    # What a behaviour may do.

    async def dial(self):
        """A new connection.

        :raises Lost: when nobody listens.
        """
        try:
            return await connectProtocol(self.way, Talk(self))
        except ConnectError:
            raise Lost from None

    def sleep(self, *seconds):
        """One of these times passes."""
        slept = Deferred()
        self.time.callLater(self.world.random.choice(seconds), slept.callback, None)
        return slept

    def take_letters(self, limit):
        """Some of what is to be sent."""
        count = min(len(self.letters), self.world.random.randint(1, limit))
        return [self.letters.popleft() for _ in range(count)]

    async def see_sent(self, letters, answers):
        """Wait for answers; what was not stored is to be sent again.

        :raises Lost: when the connection was lost.
        """
        lost = False
        for letter, answer in zip(letters, answers, strict=True):
            end = (await answer).end
            lost |= end is None
            if not isinstance(end, v2.Stored):
                self.letters.append(letter)
        if lost:
            raise Lost


async def fetch(talk):
    """How many messages came."""
    (answer,) = talk.ask(v2.FetchMessages())
    return (await answer).checked().count


async def keep_fetching(program):
    """Asks again on the same connection until nothing comes, and closes."""
    talk = await program.dial()
    while await fetch(talk):
        await program.sleep(0.0, 0.1)
    talk.close()


async def fetch_and_close(program):
    """Reads one answer, and closes."""
    talk = await program.dial()
    await fetch(talk)
    talk.close()


async def fetch_and_reset(program):
    """Reads one answer, and resets."""
    talk = await program.dial()
    await fetch(talk)
    talk.reset()


async def fetch_and_say_enough(program):
    """Reads one answer, shuts down its half, and waits for the end."""
    talk = await program.dial()
    await fetch(talk)
    talk.say_enough()
    await program.sleep(0.1, 5.0)
    talk.close()


async def say_enough_and_fetch(program):
    """Asks, shuts down its half at once, and reads."""
    talk = await program.dial()
    (answer,) = talk.ask(v2.FetchMessages())
    talk.say_enough()
    (await answer).checked()


async def close_at_once(program):
    """Asks, and closes without reading."""
    talk = await program.dial()
    talk.ask(v2.FetchMessages())
    talk.close()


async def close_in_the_middle(program):
    """Asks, and closes after a while, whatever has come."""
    talk = await program.dial()
    talk.ask(v2.FetchMessages())
    await program.sleep(0.0, 0.02, 0.1, 1.0)
    talk.close()


async def read_slowly(program):
    """Reads a little now and then, asks again, and closes."""
    talk = await program.dial()
    for _ in range(2):
        (answer,) = talk.ask(v2.FetchMessages())
        while not answer.called:
            talk.transport.pauseProducing()
            await program.sleep(0.02, 0.5)
            talk.transport.resumeProducing()
            await program.sleep(0.0, 0.02)
        (await answer).checked()
    talk.close()


async def ask_twice(program):
    """Sends two fetches at once, reads both answers or only one, and resets or asks again."""
    random = program.world.random
    talk = await program.dial()
    for answer in talk.ask(v2.FetchMessages(), v2.FetchMessages()):
        (await answer).checked()
        if random.random() < 0.3:
            talk.reset()
            return
    if random.random() < 0.5:
        await fetch(talk)
    talk.reset()


async def send_many(program):
    """Sends some letters at once, and others when those are answered."""
    talk = await program.dial()
    while program.letters and not program.world.calm:
        letters = program.take_letters(8)
        await program.see_sent(letters, talk.send(letters))
        await program.sleep(0.0, 0.1)
    talk.close()


async def send_and_say_enough(program):
    """Sends, shuts down its half, and reads the answers."""
    talk = await program.dial()
    letters = program.take_letters(5)
    answers = talk.send(letters)
    talk.say_enough()
    await program.see_sent(letters, answers)


async def send_in_drips(program):
    """Sends a letter, then half of a frame that it never ends, and waits."""
    talk = await program.dial()
    letters = program.take_letters(3)
    answers = talk.send(letters, last=b"half a header")
    await program.see_sent(letters, answers)
    await program.sleep(0.1, 8.0)
    talk.close()


async def send_and_fetch(program):
    """Sends and fetches on one connection, in turns, by requests that do not wait."""
    talk = await program.dial()
    for _ in range(3):
        letters = program.take_letters(4) if program.letters else []
        answers = talk.send(letters)
        (fetched,) = talk.ask(v2.FetchMessages())
        await program.see_sent(letters, answers)
        (await fetched).checked()
    talk.close()


async def ask_for_everything(program):
    """Asks for the list and for a key, and says what makes no sense."""
    talk = await program.dial()
    person = program.world.random.choice(program.post.people)
    wanted = [v2.ListClients(), v2.GetPublicKey(person.client_id or NOBODY)]
    for answer in talk.ask(*wanted):
        (await answer).checked()
    unknown = bytes(16) + bytes((2,)) + (700).to_bytes(2, "little") + (3).to_bytes(4, "little")
    (answer,) = talk.say(unknown + b"???")
    (await answer).checked()
    untrusted = bytes(16) + bytes((2,)) + (604).to_bytes(2, "little") + (3).to_bytes(4, "little")
    (answer,) = talk.say(untrusted)
    (await answer).checked()
    talk.close()


async def join(program):
    """Registers, under another name when that one is taken."""
    person = program.person
    while person.client_id is None:
        person.attempts += 1
        name = UserName.from_text(f"{person.name} {person.attempts}")
        talk = await program.dial()
        (answer,) = talk.ask(v2.Register(name, KEY))
        end = (await answer).checked().end
        talk.close()
        if isinstance(end, v2.Registered):
            person.client_id = end.client_id
            program.world.note(Joined(person.name))
        else:
            await program.sleep(0.1)
    return DONE


async def be_our_client(program):
    """Sends and fetches as the client library does."""
    relay = Relay(
        program.time, lambda: Destination("the relay", program.way), Patience(2.0, 3.0, 10**6)
    )
    person, post, world = program.person, program.post, program.world
    count = [1]

    def take(item):
        count[0] += isinstance(item, v2.WaitingMessage)
        if isinstance(item, v2.WaitingMessage):
            post.received(person, item)

    try:
        while program.letters and not world.calm:
            (letter,) = program.take_letters(1)
            post.talks += 1
            number, body = post.attempt(person, letter, post.talks)
            try:
                stored = await relay.ask(person.client_id, body, v2.Stored)
            except ClientError:
                program.letters.append(letter)
                raise
            world.note(Acknowledged(number, stored.message_id.number))
        while count[0]:
            count[0] = 0
            await relay.ask(person.client_id, v2.FetchMessages(), v2.EndOfMessages, take)
        await relay.close()
    except ClientError:
        raise Lost from None


FETCHING: Final = (
    keep_fetching,
    keep_fetching,
    fetch_and_close,
    fetch_and_reset,
    fetch_and_say_enough,
    say_enough_and_fetch,
    close_at_once,
    close_in_the_middle,
    read_slowly,
)
UNPROVEN: Final = (ask_twice, ask_twice, send_and_fetch)
"""Those that ask before they have read. Where the relay cannot ask its kernel that is no proof of
anything, and it may take it for one (ADR 2)."""
SENDING: Final = (
    send_many,
    send_many,
    send_and_say_enough,
    send_in_drips,
    send_and_fetch,
    be_our_client,
)
OTHERS: Final = (be_our_client, ask_for_everything)


TRIES: Final = 5
"""Times that somebody tries to be served when all is well."""

PATIENCE: Final = 300
"""Seconds within which everybody is registered before the faults begin."""


def populate(world, people=3):
    """People who are registered, one who is not yet, and programs for all of them."""
    random, post = world.random, Post(world)
    for number in range(people):
        person = Person(f"person {number}")
        post.people.append(person)
        Program(post, person, join).start()
    for _ in range(PATIENCE):
        world.network.wait(1.0, 0.5)
        if all(person.client_id for person in post.people):
            break
    newcomer = Person("newcomer")
    programs = [Program(post, newcomer, join)]
    known = list(post.people)
    post.people.append(newcomer)
    proven = world.probe != "blind"
    sending = [each for each in SENDING if proven or each not in UNPROVEN]
    fetching = [*FETCHING, *OTHERS, *(UNPROVEN if proven else ())]
    sizes = LARGE if world.has_large else SMALL
    crowded = world.database.is_crowded
    recipients = known[:1] if crowded else known
    for person in known:
        letters = [
            Letter(random.choice(recipients), random.choice(sizes))
            for _ in range(random.randint(2, 12))
        ]
        programs.append(Program(post, person, random.choice(sending), letters))
        programs.extend(
            Program(post, known[0] if crowded else person, random.choice(fetching))
            for _ in range(random.randint(1, 2))
        )
    for program in programs:
        program.start()
    world.programs.extend(programs)
    return post


def prove_service(post):
    """Have everybody who is registered fetch what waits, and see whether they are served."""
    for person in post.people:
        if person.client_id is not None:
            proven = Deferred.fromCoroutine(_prove_service(Program(post, person, None)))
            proven.addErrback(post.world.failures.append)


async def _prove_service(program):
    """Fetches all that waits, sends itself a letter, and fetches that. It tries again when it has
    to make way for others, as it may have to at a limit."""
    program.world.note(Probed(program.person.name))
    for _ in range(TRIES):
        try:
            talk = await program.dial()
            while await fetch(talk):
                pass
            (answer,) = talk.send([Letter(program.person, 12)])
            stored = (await answer).checked()
            if await fetch(talk) == 1 and await fetch(talk) == 0 and not stored.refused:
                program.world.note(Answered(program.person.name))
            talk.close()
        except Lost:
            await program.sleep(0.5, 1.0)
        else:
            return
