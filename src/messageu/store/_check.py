"""Whether a database takes a commit now."""

from __future__ import annotations

from typing import ClassVar

from . import _statements as statements
from ._operations import StoreOperation, StoreWork


class Check(StoreOperation):
    """Something comes and goes: a commit as any other, which is on the disk when it is done."""

    name: ClassVar[str] = "check"
    writes: ClassVar[bool] = True

    def run(self, work: StoreWork) -> None:
        statements.write_nothing(work.cursor)
