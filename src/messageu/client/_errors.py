"""What can go wrong for a client. Every text is one line for a person, and none of a peer's."""

from __future__ import annotations


class ClientError(Exception):
    """What was asked for was not done; the text says why, and what may help."""


class AddressInvalid(ClientError):
    """``server.info`` is missing or does not say where the relay is."""


class IdentityInvalid(ClientError):
    """The identity file is there and cannot be used, or cannot be written."""


class KeyringInvalid(ClientError):
    """What is in the keyring's file cannot be used."""


class NotRegistered(ClientError):
    """There is no identity yet: register first."""


class AlreadyRegistered(ClientError):
    """There is an identity already."""


class UnknownPeer(ClientError):
    """The relay lists nobody under that name."""


class PeerKeyInvalid(ClientError):
    """What a peer published as its public key is none."""


class NoSharedKey(ClientError):
    """No symmetric key is shared with that peer."""


class FileMissing(ClientError):
    """The file to send is not there."""


class FileRefused(ClientError):
    """The file to send cannot be read, is no regular file, or is too large."""


class ContentTooLarge(ClientError):
    """The text is larger than a message can be."""


class FileNotSaved(ClientError):
    """A file was received and could not be written. The relay has been told nothing."""


class TooManyRequests(ClientError):
    """The application asks faster than the relay answers."""


class RelayError(ClientError):
    """The relay did not do its part."""


class RelayRefused(RelayError):
    """The relay answered with the general error, 9000."""


class RelayUnreachable(RelayError):
    """There is no connection to the relay."""


class RelaySilent(RelayError):
    """The relay has not gone on with its answer for too long."""


class AnswerBroken(RelayError):
    """The relay gave no answer that can be used.

    :ivar begun: whether anything of the answer could be read.
    """

    def __init__(self, reason: str, *, begun: bool) -> None:
        super().__init__(reason)
        self.begun = begun


class AnswerCut(AnswerBroken):
    """The relay closed the connection before its answer was complete."""


class AnswerNonsense(AnswerBroken):
    """The relay answered something that is not MessageU, or not what was asked."""


class OutcomeUnknown(RelayError):
    """The request was sent and not answered: it may or may not have been carried out."""
