"""One connection to a relay, without the connection: requests out, bytes in, results out.

::

    idle ──ask──▶ asked ──hear──▶ answering ──complete──▶ idle
      │             │                 │
      └─hear────────┴─retire──────────┴──▶ retired

A session is pulled, as the parser below it: ``receive_data`` only stores, ``next_result`` gives at
most one result. One request is outstanding at a time: v2 has no numbers by which answers could be
told apart. A session whose place in the stream is in doubt is retired: after an answer that makes
no sense, after bytes that nobody asked for, and after bytes behind an answer's announced end. The
latter spoil the connection and not the answer (docs/protocol/v2.md, "What our client tolerates").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from attrs import frozen
from automat import TypeMachineBuilder

from messageu.model import ListedClient
from messageu.wire import NEED_DATA, NeedData, Parser, RemoteProtocolError, v2

from ._errors import AnswerCut, AnswerNonsense, RelayRefused


@frozen
class Oversized:
    """In place of a message above the limit of the codec, of which nothing was stored."""


ItemEvent: TypeAlias = ListedClient | v2.WaitingMessage | Oversized
AnswerEvent: TypeAlias = (
    v2.Registered | v2.EndOfClients | v2.PublicKeyOf | v2.Stored | v2.EndOfMessages
)


@frozen
class Item:
    """A part of an answer that goes on."""

    event: ItemEvent


@frozen
class Done:
    """The answer, or the end of one that came in items."""

    event: AnswerEvent


Result: TypeAlias = Item | Done


@frozen
class _Expected:
    """What may answer a request: ``end``, and before it any number of ``item``."""

    end: type[AnswerEvent]
    item: type[ItemEvent] | None = None


_EXPECTED: Final[dict[type[v2.RequestBody], _Expected]] = {
    v2.Register: _Expected(v2.Registered),
    v2.ListClients: _Expected(v2.EndOfClients, ListedClient),
    v2.GetPublicKey: _Expected(v2.PublicKeyOf),
    v2.SendMessage: _Expected(v2.Stored),
    v2.FetchMessages: _Expected(v2.EndOfMessages, v2.WaitingMessage),
}


class _Lifecycle(Protocol):
    """What can happen to a session."""

    def ask(self) -> None:
        """A request goes out."""

    def hear(self) -> None:
        """Bytes have arrived."""

    def complete(self) -> None:
        """The answer has ended, and the stream stands at its end."""

    def retire(self) -> None:
        """Nothing that still comes can be trusted."""

    def state(self) -> str:
        """The name of the state."""


class _Core:
    """The machine has nothing to hold: its state is all there is."""


def _build() -> Callable[[_Core], _Lifecycle]:
    builder = TypeMachineBuilder(_Lifecycle, _Core)
    idle = builder.state("idle")
    asked = builder.state("asked")
    answering = builder.state("answering")
    retired = builder.state("retired")

    idle.upon(_Lifecycle.ask).to(asked).returns(None)
    idle.upon(_Lifecycle.hear).to(retired).returns(None)
    asked.upon(_Lifecycle.hear).to(answering).returns(None)
    answering.upon(_Lifecycle.hear).loop().returns(None)
    answering.upon(_Lifecycle.complete).to(idle).returns(None)
    retired.upon(_Lifecycle.hear).loop().returns(None)
    for state in (idle, asked, answering, retired):
        state.upon(_Lifecycle.retire).to(retired).returns(None)
        state.upon(_Lifecycle.state).loop().returns(state.name)
    return builder.build()


_new_lifecycle: Final = _build()


class Session:
    """The rules of one connection.

    :param codec: with the limit on a message's content.
    """

    def __init__(self, codec: v2.ResponseCodec | None = None) -> None:
        self._parser = Parser(codec if codec is not None else v2.ResponseCodec())
        self._lifecycle = _new_lifecycle(_Core())
        self._expected = _Expected(v2.Stored)
        self._begun = False
        self._ended = False

    @property
    def usable(self) -> bool:
        """Whether a request may be asked."""
        return self._lifecycle.state() == "idle"

    def ask(self, request: v2.Request) -> bytes:
        """The frame of a request, to be sent in one write. Only while :attr:`usable`.

        :raises LocalProtocolError: when the protocol cannot carry it; nothing has changed then.
        """
        frame = request.encode()
        self._lifecycle.ask()
        self._expected = _EXPECTED[type(request.body)]
        self._begun = False
        return frame

    def receive_data(self, data: bytes) -> None:
        """Store what arrived. What nobody asked for retires the session."""
        self._lifecycle.hear()
        if self._lifecycle.state() == "answering":
            self._parser.receive_data(data)

    def end_input(self) -> None:
        """Nothing more will arrive."""
        self._ended = True
        if self.usable:
            self.retire()

    def retire(self) -> None:
        """Give up: nothing more is asked or read."""
        self._lifecycle.retire()
        self._parser.close()

    def next_result(self) -> Result | NeedData:
        """The next piece of the outstanding answer, or NEED_DATA.

        :raises RelayRefused: the answer is 9000, whatever its payload.
        :raises AnswerNonsense: it is no answer of v2, or none to this request.
        :raises AnswerCut: the connection has ended before the answer.
        """
        if self._lifecycle.state() not in ("asked", "answering"):
            return NEED_DATA
        try:
            event = self._parser.next_event()
        except RemoteProtocolError as error:
            if not error.fatal and self._expected.item is v2.WaitingMessage:
                self._begun = True
                return Item(Oversized())
            raise self._nonsense(str(error)) from None
        if event is NEED_DATA:
            self._check_end()
            return NEED_DATA
        return self._judge(event)

    def _judge(self, event: v2.ResponseEvent) -> Result:
        if isinstance(event, v2.GeneralError):
            self._settle()
            raise RelayRefused("the relay answered with an error")
        if isinstance(event, ListedClient | v2.WaitingMessage):
            if self._expected.item is not type(event):
                raise self._nonsense("the answer to another request")
            self._begun = True
            return Item(event)
        if self._expected.end is not type(event):
            raise self._nonsense("the answer to another request")
        self._settle()
        return Done(event)

    def _settle(self) -> None:
        if self._parser.mid_frame or self._ended:
            self.retire()
        else:
            self._lifecycle.complete()

    def _check_end(self) -> None:
        if self._ended:
            heard = self._begun or self._lifecycle.state() == "answering"
            self.retire()
            raise AnswerCut(
                "the relay closed the connection "
                + ("in the middle of its answer" if heard else "without an answer"),
                begun=self._begun,
            )

    def _nonsense(self, reason: str) -> AnswerNonsense:
        self.retire()
        return AnswerNonsense(f"the relay's answer makes no sense: {reason}", begun=self._begun)
