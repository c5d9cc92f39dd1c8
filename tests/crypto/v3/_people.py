"""People for the tests, and what they say."""

from functools import cache

from hypothesis import strategies as st

from messageu.crypto.v3 import Account, Ciphertext, HpkeKey, Kind, Message
from messageu.model import v3

ENVELOPE_ID = v3.EnvelopeId(b"an envelope's id")
OTHER_ENVELOPE_ID = v3.EnvelopeId(b"another envelope")
KEY_ID = 7

SMALL_ORDER = tuple(
    bytes.fromhex(point)
    for point in (
        "00" * 32,
        "01" + "00" * 31,
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)
"""Points of Curve25519 with which every exchange gives nothing."""


@cache
def _dump(name):
    return Account.create().dump()


def account(name):
    """The account of somebody: each time as it was when it was made."""
    return Account.restore(_dump(name))


@cache
def hpke_key(name):
    """The HPKE key of somebody."""
    return HpkeKey.create()


def one_time_key(owner):
    """A new one of an account's, published."""
    owner.make_one_time_keys(1)
    (key,) = owner.unpublished_one_time_keys()
    owner.mark_published()
    return key.key


def conversation(one=None, other=None):
    """The session of each of two accounts that have spoken once, both ways."""
    one, other = one or account("anna"), other or account("berta")
    ours = one.begin(other.keys, one_time_key(other))
    theirs, _ = other.accept(one.keys, ours.encrypt(b"hello"))
    ours.decrypt(theirs.encrypt(b"hello yourself"))
    return ours, theirs


def message(**fields):
    """A text from anna to berta, unless told otherwise."""
    defaults = {
        "sender": account("anna").keys,
        "recipient": account("berta").keys,
        "message_id": bytes(range(16)),
        "sequence": 1,
        "time": 1_800_000_000_000,
        "expiry": 0,
        "kind": Kind.TEXT,
        "body": b"good morning",
    }
    return Message(**defaults | fields)


def said(text=b"good morning"):
    """A ciphertext: the first that anna says to berta."""
    return Ciphertext(1, text)


@st.composite
def damaged(draw, originals):
    """One of the originals, flipped, cut, grown or with a hostile key written into it."""
    original = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(len(original) - 1, 0)))
        match draw(st.sampled_from(["flip", "cut", "grow", "drop", "key", "fill"])):
            case "flip" if original:
                original[place] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del original[place:]
            case "grow":
                original[place:place] = draw(st.binary(min_size=1, max_size=12))
            case "drop":
                del original[place : place + draw(st.integers(1, 12))]
            case "key":
                original[place : place + 32] = draw(st.sampled_from(SMALL_ORDER))
            case _:
                original[place : place + 4] = b"\xff" * 4
    return bytes(original)
