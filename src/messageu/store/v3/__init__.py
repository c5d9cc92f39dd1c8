"""Where accounts of v3, their prekeys and their mailboxes are kept."""

from ._interface import Admission, Claimed, IAccountStore, PutOutcome, Stored

__all__ = ["Admission", "Claimed", "IAccountStore", "PutOutcome", "Stored"]
