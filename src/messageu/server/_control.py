"""What the operator's command and a relay say to each other: lines, without I/O.

A connection carries one request, a line. The answer is lines, of which the last is ``done`` or
``error``. Paths are bytes as the system has them, so that a line is bytes as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from attrs import frozen

from messageu.model import InvalidValue
from messageu.model.v3 import Handle

LINE_LIMIT: Final = 8192
"""Bytes of a line: a path is at most half as long."""


PROTOCOLS: Final = ("v2", "v3")

USERS_LIMIT: Final = 1_000
"""Names in one answer."""

MAILBOXES_LIMIT: Final = 1_000
"""Mailboxes of a protocol in one answer."""


class ControlError(Exception):
    """A line that means nothing; the text says what is wrong, and quotes nothing."""


@frozen
class StatusRequest:
    """How is the relay?"""


@frozen
class BackupRequest:
    """Copy the database into a new file.

    :ivar target: where, from the root of the file system.
    """

    target: Path


@frozen
class InviteRequest:
    """Make a token with which one account of v3 can be registered."""


@frozen
class ReleaseRequest:
    """Let a name of a deleted account of v3 be given out again."""

    name: Handle


@frozen
class UsersRequest:
    """How many users are there, and of one protocol, who?

    :ivar protocol: whose names are asked for; empty: nobody's.
    :ivar after: 0, or the ``next`` of the page before.
    :ivar limit: names at the most.
    """

    protocol: str = ""
    after: int = 0
    limit: int = 0


@frozen
class MailboxesRequest:
    """Which are the largest mailboxes of each protocol?

    :ivar count: so many of each.
    """

    count: int


@frozen
class ExpireRequest:
    """Delete mail that has waited for longer than so many days."""

    days: float


@frozen
class Advance:
    """So much of a backup is done, of how much."""

    done: int
    total: int


@frozen
class Value:
    """One thing that there is to know about a relay."""

    name: str
    text: str


@frozen
class Done:
    """All is well; ``size`` is that of a new file, in bytes, or 0."""

    size: int


@frozen
class Failed:
    """Nothing was done; the text says why, in one line."""

    text: str


Request: TypeAlias = (
    StatusRequest
    | BackupRequest
    | InviteRequest
    | ReleaseRequest
    | UsersRequest
    | MailboxesRequest
    | ExpireRequest
)
Answer: TypeAlias = Advance | Value | Done | Failed


def encode_request(request: Request) -> bytes:
    """A line without its end.

    :raises ControlError: when a path cannot be in a line.
    """
    match request:
        case StatusRequest():
            return b"status"
        case BackupRequest(target):
            path = os.fsencode(target)
            if b"\n" in path or len(path) > LINE_LIMIT // 2:
                raise ControlError("such a path cannot be told to a relay")
            return b"backup " + path
        case InviteRequest():
            return b"invite"
        case ReleaseRequest(name):
            return b"release-name " + name.raw
        case UsersRequest("", _, _):
            return b"users"
        case UsersRequest(protocol, after, limit):
            return f"users {protocol} {after} {limit}".encode("ascii")
        case MailboxesRequest(count):
            return b"mailboxes %d" % count
        case ExpireRequest(days):
            return f"expire {days!r}".encode("ascii")


def decode_request(line: bytes) -> Request:
    """What a line asks for.

    :raises ControlError: when that is nothing.
    """
    verb, _, rest = line.partition(b" ")
    decode = _REQUESTS.get(verb)
    if decode is None:
        raise ControlError("there is no such request")
    return decode(rest)


def _alone(request: type[StatusRequest | InviteRequest]) -> Callable[[bytes], Request]:
    def decode(rest: bytes) -> Request:
        if rest:
            raise ControlError("there is no such request")
        return request()

    return decode


def _decode_release(rest: bytes) -> ReleaseRequest:
    try:
        return ReleaseRequest(Handle.from_raw(rest))
    except InvalidValue as error:
        raise ControlError(str(error)) from None


def _decode_backup(rest: bytes) -> BackupRequest:
    if not rest.startswith(b"/") or b"\0" in rest:
        raise ControlError("this is not a path from the root")
    return BackupRequest(Path(os.fsdecode(rest)))


def _decode_users(rest: bytes) -> UsersRequest:
    if not rest:
        return UsersRequest()
    try:
        protocol, after, limit = rest.decode("ascii").split(" ")
        request = UsersRequest(protocol, int(after), int(limit))
    except ValueError:  # of which UnicodeDecodeError is one
        raise ControlError("there is no such request") from None
    if protocol not in PROTOCOLS or not 0 <= request.after < 2**63:
        raise ControlError("there is no such request")
    if not 0 < request.limit <= USERS_LIMIT:
        raise ControlError(f"1 to {USERS_LIMIT} names can be asked for at once")
    return request


def _decode_mailboxes(rest: bytes) -> MailboxesRequest:
    try:
        count = int(rest)
    except ValueError:
        raise ControlError("there is no such request") from None
    if not 0 < count <= MAILBOXES_LIMIT:
        raise ControlError(f"1 to {MAILBOXES_LIMIT} mailboxes can be asked for")
    return MailboxesRequest(count)


def _decode_expire(rest: bytes) -> ExpireRequest:
    try:
        days = float(rest)
    except ValueError:
        raise ControlError("there is no such request") from None
    if not 0 < days < float("inf"):
        raise ControlError("this is no number of days above 0")
    return ExpireRequest(days)


_REQUESTS: Final[Mapping[bytes, Callable[[bytes], Request]]] = {
    b"status": _alone(StatusRequest),
    b"backup": _decode_backup,
    b"invite": _alone(InviteRequest),
    b"release-name": _decode_release,
    b"users": _decode_users,
    b"mailboxes": _decode_mailboxes,
    b"expire": _decode_expire,
}


def encode_answer(answer: Answer) -> bytes:
    """A line without its end; what is no text in it is escaped."""
    match answer:
        case Advance(done, total):
            line = f"progress {done} {total}"
        case Value(name, text):
            line = f"value {name} {text}"
        case Done(size):
            line = f"done {size}"
        case Failed(text):
            line = f"error {text}"
    return line.replace("\n", " ").encode("utf-8", "backslashreplace")[:LINE_LIMIT]


def decode_answer(line: bytes) -> Answer:
    """What a line of an answer says.

    :raises ControlError: when that is nothing.
    """
    verb, _, rest = line.decode("utf-8", "replace").partition(" ")
    try:
        return _ANSWERS[verb](rest)
    except (KeyError, TypeError, ValueError):
        raise ControlError("there is no such answer") from None


_ANSWERS: Final[Mapping[str, Callable[[str], Answer]]] = {
    "progress": lambda rest: Advance(*map(int, rest.split())),
    "value": lambda rest: Value(*rest.split(" ", 1)),
    "done": lambda rest: Done(int(rest)),
    "error": Failed,
}
