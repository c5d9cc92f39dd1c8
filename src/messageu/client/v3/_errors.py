"""What can go wrong for a client of v3. Every text is one line for a person, and none of a peer's."""

from __future__ import annotations

from .._errors import ClientError


class StateFailed(ClientError):
    """What was asked for could not be written to this profile's database. Nothing was done."""


class StaleState(ClientError):
    """This profile is older than what the relay knows of it: a copy or a backup. Reset it here, or
    give it up."""


class StateInvalid(ClientError):
    """The database of this profile is of another version, or none of ours."""


class NameInvalid(ClientError):
    """That can be nobody's name at a relay."""


class NameTaken(ClientError):
    """This profile is registered under another name already."""


class ContactUnknown(ClientError):
    """There is no such contact."""


class ContactExists(ClientError):
    """There is a contact with this label or this identity already."""


class ContactInvalid(ClientError):
    """That can be no contact: its label cannot be used, or it is yourself."""


class OtherRelay(ClientError):
    """This contact is at another relay than this profile."""


class NotAccepted(ClientError):
    """This contact asks to write to you, is blocked, or was removed: accept it first."""


class NotVerified(ClientError):
    """Only verified contacts are written to, and this one is not: compare safety numbers first."""


class IdentityHasChanged(ClientError):
    """Somebody else has this contact's name now: say first whether to keep or to replace it."""


class TextInvalid(ClientError):
    """A text has 1 to 65,536 bytes of UTF-8."""


class FilesUnavailable(ClientError):
    """This client was made without a place for files."""


class TooManyContacts(ClientError):
    """There are as many contacts as one profile can have."""


class TooMuchWaiting(ClientError):
    """As much as one profile keeps is waiting to be sent to this contact already."""
