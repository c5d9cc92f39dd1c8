"""What is to be done in transactions, and what it is done with: objects for the transactor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from attrs import frozen


@frozen
class Needs:
    """What an operation goes on to change, where several may change it at once.

    An engine with locks takes those of a whole batch before anything is done, in one order: so no
    two batches ever wait for each other.

    An operation that finds out by itself what it changes shares no batch with others.

    :ivar registry: whether it makes or deletes clients or accounts.
    :ivar clients: ids of the clients of v2 whose mailboxes it changes, of 16 bytes.
    :ivar readers: the same, if anything waits there.
    :ivar accounts: ids of the accounts that it changes, of 16 bytes.
    """

    registry: bool = False
    clients: Sequence[bytes] = ()
    readers: Sequence[bytes] = ()
    accounts: Sequence[bytes] = ()


NOTHING: Final = Needs()


class Work(Protocol):
    """What operations work on during one transaction, and what they learn in it."""

    def committed(self) -> None:
        """Keep what was learned. Called by the thread that ran the operations, before others."""

    def rolled_back(self) -> None:
        """Forget what was learned. Called by the same thread."""


W = TypeVar("W", bound=Work)
_W_contra = TypeVar("_W_contra", bound=Work, contravariant=True)


class Operation(Generic[_W_contra]):
    """One thing to do in a transaction, with what it needs to know.

    :cvar name: how logs call it.
    :cvar writes: whether it may change the database.
    :cvar repeatable: whether it may be done twice when nobody knows if it was done: the second time
        changes nothing more.
    :cvar essential: taken even when too many operations wait.
    :cvar alone: whether it shares no transaction with others.
    :cvar commutes: whether it only reads, what no other operation changes: it is done by itself
        between two transactions, so that it takes turns with what waits for a commit.
    """

    name: ClassVar[str]
    writes: ClassVar[bool] = False
    repeatable: ClassVar[bool] = False
    essential: ClassVar[bool] = False
    alone: ClassVar[bool] = False
    commutes: ClassVar[bool] = False

    @property
    def needs(self) -> Needs:
        """What has to be locked for it."""
        return NOTHING

    @property
    def subject(self) -> bytes:
        """Whose mailbox it is about: what is about the same one is done in order."""
        return b""

    @property
    def count(self) -> int:
        """How many things it does: at least one."""
        return 1

    @property
    def size(self) -> int:
        """The bytes of content that it carries or reads."""
        return 0

    def run(self, work: _W_contra) -> object:
        """Do it. A result that is an exception becomes a failure, without undoing anything."""
        raise NotImplementedError

    @classmethod
    def run_group(cls, work: _W_contra, group: Sequence[Any]) -> Sequence[object]:
        """Do consecutive operations of this class; as many results, in the same order."""
        return [operation.run(work) for operation in group]

    def parts(self) -> Sequence[Operation[_W_contra]]:
        """The same as operations that can fail one without the other."""
        return (self,)

    def join(self, results: Sequence[object]) -> object:
        """The result, made of those of its parts."""
        (result,) = results
        return result

    def give_up(self) -> None:
        """It failed for good, and was undone. Called like :meth:`Work.committed`."""
