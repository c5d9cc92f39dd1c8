"""Runs a parser over chunks, and writes down all that it answers."""

from collections.abc import Iterable
from typing import Any

from attrs import frozen

from messageu.testing.strategies import Verdict
from messageu.wire import NEED_DATA, Codec, Parser, RemoteProtocolError


@frozen
class Answer:
    """What ``next_event`` gave, and where the frame began.

    :ivar outcome: the event, or which sort of error it was.
    :ivar reason: the text of the error.
    """

    outcome: Any
    offset: int
    reason: str = ""


def drain(parser: Parser) -> list[Answer]:
    """All that the parser can answer now, up to a fatal error."""
    answers = []
    while True:
        try:
            event = parser.next_event()
        except RemoteProtocolError as error:
            verdict = Verdict.FATAL if error.fatal else Verdict.REFUSED
            answers.append(Answer(verdict, parser.frame_offset, str(error)))
            if error.fatal:
                return answers
            continue
        if event is NEED_DATA:
            return answers
        answers.append(Answer(event, parser.frame_offset))


def answers_to(codec: Codec, chunks: Iterable[bytes]) -> list[Answer]:
    """All that a new parser answers to these chunks, up to a fatal error."""
    parser = Parser(codec)
    answers: list[Answer] = []
    for chunk in chunks:
        parser.receive_data(chunk)
        answers += drain(parser)
        if answers and answers[-1].outcome is Verdict.FATAL:
            break
    return answers


def outcomes(codec: Codec, data: bytes) -> list[Any]:
    """The events and the sorts of errors that a parser makes of bytes that come at once."""
    return [answer.outcome for answer in answers_to(codec, [data])]
