"""Somebody of everything that v3 carries."""

from messageu.model import ClientId
from messageu.model.v3 import (
    Bundle,
    Delivery,
    EnvelopeId,
    Identity,
    IdentityKeys,
    OneTimeKey,
    Reason,
    Registration,
    SealedEnvelope,
    Terms,
)
from messageu.wire import v3

ACCOUNT = ClientId(bytes(range(16)))
IDENTITY = Identity(bytes(range(32)))
KEYS = IdentityKeys(b"e" * 32, b"c" * 32)
SIGNATURE = b"s" * 64
ENVELOPE_ID = EnvelopeId(b"i" * 16)
ONE_TIME_KEY = OneTimeKey(7, b"o" * 32, SIGNATURE)
BUNDLE = Bundle(IDENTITY, 1, 2, 3, b"h" * 1216, 4, b"f" * 32, SIGNATURE)
TERMS = Terms(1, 2, 3, 4, 5, 6, 7, 8, Registration.TOKEN)

SMALLEST_REQUESTS = (
    v3.Hello(),
    v3.Authenticate(KEYS, 0, SIGNATURE),
    v3.Register(b""),
    v3.Resolve(b"abc"),
    v3.Publish(BUNDLE, ()),
    v3.Claim(ACCOUNT),
    v3.Send(SealedEnvelope(ACCOUNT, ENVELOPE_ID, 0, b"")),
    v3.Subscribe(0, 0),
    v3.Acknowledge((0,)),
    v3.DeleteAccount(),
    v3.Ping(),
)
"""A request of each code, as small as it can be."""

LARGEST_REQUESTS = (
    v3.Hello(),
    v3.Authenticate(KEYS, 2**64 - 1, SIGNATURE),
    v3.Register(b"n" * 32, b"t" * 16),
    v3.Resolve(b"n" * 32),
    v3.Publish(BUNDLE, (ONE_TIME_KEY,) * 50),
    v3.Claim(ACCOUNT),
    v3.Send(SealedEnvelope(ACCOUNT, ENVELOPE_ID, 2**32 - 1, b"x" * 64)),
    v3.Subscribe(2**16 - 1, 2**32 - 1),
    v3.Acknowledge((2**64 - 1,) * 1024),
    v3.DeleteAccount(),
    v3.Ping(),
)
"""A request of each code, as large as it can be where envelopes have at most 64 bytes."""

SMALLEST_ANSWERS = (
    v3.Welcome(b"n" * 32, 0, TERMS),
    v3.Authenticated(registered=False, one_time_keys=0),
    v3.Registered(),
    v3.Resolved(KEYS),
    v3.Published(0),
    v3.Claimed(KEYS, BUNDLE, None),
    v3.Stored(ENVELOPE_ID),
    v3.Subscribed(),
    v3.Acknowledged(),
    v3.AccountDeleted(),
    v3.Pong(),
    v3.Error(Reason.MALFORMED),
)
PUSHES = (
    v3.Deliver(Delivery(0, ENVELOPE_ID, 0, b"")),
    v3.Displaced(),
    v3.PrekeysLow(0),
    v3.GoingAway(0),
)
LARGEST_OF_THEM = {
    2705: v3.Claimed(KEYS, BUNDLE, ONE_TIME_KEY),
    2720: v3.Deliver(Delivery(2**64 - 1, ENVELOPE_ID, 2**32 - 1, b"x" * 64)),
}
"""What has more than one size, where envelopes have at most 64 bytes."""
