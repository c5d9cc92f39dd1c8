"""The dumps in docs/protocol/v3.md are what the code sends, reads, signs, seals and opens."""

from __future__ import annotations

import hmac
import re
import struct
from hashlib import sha256, sha512

import vodozemac
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite
from twisted.trial.unittest import SynchronousTestCase

from messageu.crypto import v3 as crypto
from messageu.crypto.signatures import is_bundle_signed, is_one_time_key_signed, is_signed
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
    authentication_text,
)
from messageu.wire import NEED_DATA, Parser, v3
from tests.dumps import PROTOCOLS, dumps
from tests.worked_v3 import Person, olm_account, x25519_public

DUMPS = dumps("v3.md")
TEXT = (PROTOCOLS / "v3.md").read_text("utf-8")

ALICE_KEYS = IdentityKeys(b"\xa1" * 32, b"\xa2" * 32)
BOB_KEYS = IdentityKeys(b"\xb1" * 32, b"\xb2" * 32)
BOB = ClientId(b"\xb0" * 16)
SIGNATURE = b"\x51" * 64
ENVELOPE_ID = EnvelopeId(b"\xe1" * 16)
ONE_TIME_KEY = OneTimeKey(7, b"\x07" * 32, SIGNATURE)
BUNDLE = Bundle(
    Identity(b"\xb0" * 32), 3, 1_700_604_800, 2, b"\xbe" * 1216, 8, b"\x08" * 32, SIGNATURE
)
SEALED = b"\x5e" * 1648
TERMS = Terms(
    sealed_size=2**20,
    mailbox_messages=10_000,
    mailbox_bytes=2**28,
    window_messages=64,
    window_bytes=2**22,
    one_time_keys=50,
    mail_life=2_592_000,
    idle=600,
    registration=Registration.OPEN,
)

REQUESTS = {
    "700": v3.Hello(),
    "701": v3.Authenticate(ALICE_KEYS, 1_700_000_000 * 65_536, SIGNATURE),
    "702": v3.Register(b"alice"),
    "703": v3.Resolve(b"bob"),
    "704": v3.Publish(BUNDLE, (ONE_TIME_KEY,)),
    "705": v3.Claim(BOB),
    "706": v3.Send(SealedEnvelope(BOB, ENVELOPE_ID, 2, SEALED)),
    "707": v3.Subscribe(64, 2**22),
    "708": v3.Acknowledge((41, 42)),
    "709": v3.DeleteAccount(),
    "710": v3.Ping(),
}
ANSWERS = {
    "2700": v3.Welcome(b"\x9f" * 32, 1_700_000_000, TERMS),
    "2701": v3.Authenticated(registered=True, one_time_keys=12),
    "2702": v3.Registered(),
    "2703": v3.Resolved(BOB_KEYS),
    "2704": v3.Published(13),
    "2705": v3.Claimed(BOB_KEYS, BUNDLE, ONE_TIME_KEY),
    "2706": v3.Stored(ENVELOPE_ID),
    "2707": v3.Subscribed(),
    "2708": v3.Acknowledged(),
    "2709": v3.AccountDeleted(),
    "2710": v3.Pong(),
    "9001": v3.Error(Reason.RATE_LIMITED, 30),
}
PUSHES = {
    "2720": v3.Deliver(Delivery(41, ENVELOPE_ID, 2, SEALED)),
    "2721": v3.Displaced(),
    "2722": v3.PrekeysLow(9),
    "2723": v3.GoingAway(5),
}
FRAMES: dict[str, v3.Request | v3.Response] = {
    **{name: v3.Request(int(name) - 699, body) for name, body in REQUESTS.items()},
    **{name: v3.Response(int(name) % 100 + 1, body) for name, body in ANSWERS.items()},
    **{name: v3.Response(v3.PUSH, body) for name, body in PUSHES.items()},
}

ALICE = Person(bytes(range(0x20)), bytes(range(0x20, 0x40)))
ROBERT = Person(bytes(range(0x40, 0x60)), bytes(range(0x60, 0x80)))
ONE_TIME_PRIVATE = bytes(range(0x80, 0xA0))
FALLBACK_PRIVATE = bytes(range(0xA0, 0xC0))
KEM_SEED = bytes(range(0xC0, 0x100))
HPKE_CURVE25519 = bytes(range(0xFF, 0xDF, -1))
FILE_KEY = b"\xf1" * 32

WORKED = {
    "alice",
    "bob",
    "authentication",
    "one-time-key",
    "bundle",
    "message",
    "olm",
    "sealed",
    "piece",
}


def split(name: str, *sizes: int) -> list[bytes]:
    """A dump, cut into fields, which must be all of it."""
    raw, fields = DUMPS[name], []
    for size in sizes:
        fields.append(raw[:size])
        raw = raw[size:]
    assert not raw, f"{name} is longer"
    return fields


def table(heading: str) -> list[list[str]]:
    """The rows of the first table behind a heading, as their cells, without its two first lines."""
    lines = TEXT.partition(f"\n{heading}\n")[2].partition("\n|")[2].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


class FrameTests(SynchronousTestCase):
    """Every frame there is, in docs/protocol/v3.md."""

    def test_every_code_has_a_dump(self) -> None:
        """Each request, answer and push is dumped, and nothing that does not exist."""
        codes = {*map(int, v3.RequestCode), *map(int, v3.ResponseCode)}
        self.assertEqual(set(DUMPS), {str(code) for code in codes} | WORKED)

    def test_dumps_are_what_is_sent(self) -> None:
        """The frame that the code makes is the frame that the document shows."""
        for name, frame in FRAMES.items():
            self.assertEqual(DUMPS[name].hex(" "), frame.encode().hex(" "), name)

    def test_dumps_are_read(self) -> None:
        """Relay and client read what the document shows, as what it says it is."""
        requests: Parser[v3.Request] = Parser(v3.RequestCodec())
        responses: Parser[v3.Response] = Parser(v3.ResponseCodec())
        for name, frame in FRAMES.items():
            parser = requests if isinstance(frame, v3.Request) else responses
            parser.receive_data(DUMPS[name])
            self.assertEqual(parser.next_event(), frame)
            self.assertIs(parser.next_event(), NEED_DATA)

    def test_sizes(self) -> None:
        """The sizes in the tables are those that the code takes."""
        bodies = {**v3.REQUESTS, **v3.RESPONSES}
        found = set()
        for heading in ("## Requests and answers", "### Answers", "### Pushes"):
            for name, _, size in table(heading):
                code = int(name.split()[0])
                least, most = bodies[code].min_size + 4, bodies[code].max_size
                numbers = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", size)]
                self.assertEqual(numbers[0], least, name)
                if most is None:
                    self.assertIn("+ sealed", size)
                elif "104 n" in size:
                    self.assertEqual(least + 104 * numbers[-1], most + 4, name)
                else:
                    self.assertEqual(numbers[-1], most + 4, name)
                found.add(code)
        self.assertEqual(found, set(bodies))

    def test_reasons(self) -> None:
        """The reasons of errors in the table are those that there are, with their numbers."""
        shown = {row[0]: int(row[1]) for row in table("### Errors")}
        self.assertEqual(shown, {reason.name.lower(): reason.value for reason in Reason})


class WorkedTests(SynchronousTestCase):
    """The worked example: each thing is made or checked twice, by ``cryptography`` and by us."""

    def test_identities(self) -> None:
        """The public keys are those of the private ones, and hash to the identities."""
        for name, person in (("alice", ALICE), ("bob", ROBERT)):
            ed25519, curve25519, identity = split(name, 32, 32, 32)
            self.assertEqual(person.keys, IdentityKeys(ed25519, curve25519))
            text = b"messageu/3 identity\0" + ed25519 + curve25519
            self.assertEqual(sha256(text).digest(), identity)
            self.assertEqual(person.keys.identity, Identity(identity))

    def test_authentication(self) -> None:
        """The text is put together as is told, and alice has signed it."""
        label, nonce, identity, generation, binding, signature = split(
            "authentication", 24, 32, 32, 8, 32, 64
        )
        self.assertEqual(label, b"messageu/3 authenticate\0")
        self.assertEqual(identity, ALICE.keys.identity.raw)
        (number,) = struct.unpack("<Q", generation)
        self.assertEqual(number, 1_700_000_000 * 65_536)
        text = authentication_text(nonce, ALICE.keys.identity, number, binding)
        self.assertEqual(text, DUMPS["authentication"][:-64])
        Ed25519PublicKey.from_public_bytes(ALICE.keys.ed25519).verify(signature, text)
        self.assertTrue(is_signed(ALICE.keys.ed25519, signature, text))
        self.assertEqual(ALICE.sign(text), signature)

    def test_one_time_key(self) -> None:
        """bob's one-time key is the public one of the private one, and signed by him."""
        key_id, key, signature = split("one-time-key", 8, 32, 64)
        self.assertEqual((key_id, key), (struct.pack("<Q", 7), x25519_public(ONE_TIME_PRIVATE)))
        text = b"messageu/3 one-time key\0" + ROBERT.keys.identity.raw + key_id + key
        Ed25519PublicKey.from_public_bytes(ROBERT.keys.ed25519).verify(signature, text)
        shown = OneTimeKey.decode(DUMPS["one-time-key"])
        self.assertTrue(is_one_time_key_signed(ROBERT.keys, shown))
        self.assertFalse(is_one_time_key_signed(ALICE.keys, shown))

    def test_bundle(self) -> None:
        """bob's bundle holds the public keys of the private ones, and is signed by him."""
        raw = DUMPS["bundle"]
        Ed25519PublicKey.from_public_bytes(ROBERT.keys.ed25519).verify(
            raw[-64:], b"messageu/3 bundle\0" + raw[:-64]
        )
        kem = MLKEM768PrivateKey.from_seed_bytes(KEM_SEED).public_key().public_bytes_raw()
        bundle = Bundle.decode(raw)
        self.assertEqual(bundle.hpke_key, kem + x25519_public(HPKE_CURVE25519))
        self.assertEqual(bundle.hpke_key, crypto.HpkeKey.restore(KEM_SEED + HPKE_CURVE25519).public)
        self.assertEqual(bundle.fallback_key, x25519_public(FALLBACK_PRIVATE))
        self.assertEqual(
            (bundle.identity, bundle.sequence, bundle.not_after, bundle.hpke_key_id),
            (ROBERT.keys.identity, 3, 1_700_604_800, 2),
        )
        self.assertTrue(is_bundle_signed(ROBERT.keys, bundle))
        self.assertFalse(is_bundle_signed(ALICE.keys, bundle))

    def test_message(self) -> None:
        """The message is what the code makes of its parts, and says hello."""
        message = crypto.Message(
            sender=ALICE.keys,
            recipient=ROBERT.keys,
            message_id=b"\xd1" * 16,
            sequence=1,
            time=1_700_000_000_123,
            expiry=1_702_592_000,
            kind=crypto.Kind.TEXT,
            body=b"hello",
        )
        self.assertEqual(message.encode().hex(" "), DUMPS["message"].hex(" "))
        self.assertEqual(crypto.Message.decode(DUMPS["message"]), message)

    def test_seal(self) -> None:
        """The seal opens with bob's private keys, and in it is the ciphertext, as is told."""
        info = b"messageu/3 seal\0" + ROBERT.keys.identity.raw + b"\xe1" * 16 + b"\x02\0\0\0"
        suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
        private = MLKEM768X25519PrivateKey(
            MLKEM768PrivateKey.from_seed_bytes(KEM_SEED),
            X25519PrivateKey.from_private_bytes(HPKE_CURVE25519),
        )
        content = suite.decrypt(DUMPS["sealed"], private, info)
        olm = DUMPS["olm"]
        keys = ALICE.keys.ed25519 + ALICE.keys.curve25519
        head = b"\x01" + keys + b"\0" + struct.pack("<I", len(olm))
        self.assertEqual(content, (head + olm).ljust(512, b"\0"))
        self.assertEqual(len(DUMPS["sealed"]), 1120 + 512 + 16)
        unsealed = crypto.unseal(
            DUMPS["sealed"],
            crypto.HpkeKey.restore(KEM_SEED + HPKE_CURVE25519),
            ROBERT.keys.identity,
            EnvelopeId(b"\xe1" * 16),
            2,
        )
        self.assertEqual(unsealed.sender, ALICE.keys)
        self.assertEqual((unsealed.ciphertext.type, unsealed.ciphertext.raw), (0, olm))

    def test_ratchet(self) -> None:
        """The ciphertext opens in an account with bob's private keys, as alice's message."""
        account = olm_account(ROBERT, {7: ONE_TIME_PRIVATE})
        first = vodozemac.AnyOlmMessage.from_parts(0, DUMPS["olm"]).to_pre_key()
        sender = vodozemac.Curve25519PublicKey.from_bytes(ALICE.keys.curve25519)
        session, plaintext = account.create_inbound_session(sender, first)
        self.assertEqual(plaintext.hex(" "), DUMPS["message"].hex(" "))
        self.assertIn(session.session_id, TEXT)

    def test_safety_number(self) -> None:
        """The safety number of alice and bob, by the recipe of the document."""
        halves = []
        for person in (ALICE, ROBERT):
            identity = person.keys.identity.raw
            digest = sha512(b"messageu/3 safety number\0" + identity).digest()
            for _ in range(5_199):
                digest = sha512(digest + identity).digest()
            digits = [
                int.from_bytes(digest[at : at + 5], "big") % 100_000 for at in range(0, 30, 5)
            ]
            halves.append("".join(f"{number:05}" for number in digits))
        number = "".join(sorted(halves))
        self.assertEqual(crypto.safety_number(ALICE.keys.identity, ROBERT.keys.identity), number)
        self.assertEqual(crypto.safety_number(ROBERT.keys.identity, ALICE.keys.identity), number)
        groups = " ".join(number[at : at + 5] for at in range(0, 60, 5))
        self.assertIn(groups, TEXT)

    def test_piece(self) -> None:
        """The only piece of a file that says hello, and its envelope id."""
        envelope_id, beginning, tag, digest = split("piece", 16, 16, 16, 32)
        code = hmac.digest(FILE_KEY, b"messageu/3 piece\0" + bytes(4), "sha256")
        self.assertEqual(envelope_id, code[:16])
        self.assertEqual(crypto.piece_envelope_id(FILE_KEY, 0).raw, envelope_id)
        piece = b"hello".ljust(262_144, b"\0")
        sealed = ChaCha20Poly1305(FILE_KEY).encrypt(bytes(11) + b"\x01", piece, None)
        self.assertEqual(crypto.seal_piece(FILE_KEY, 0, True, piece), sealed)
        self.assertEqual((sealed[:16], sealed[-16:]), (beginning, tag))
        self.assertEqual(sha256(sealed).digest(), digest)

    def test_padme(self) -> None:
        """The lengths in the table are the Padmé lengths, by the recipe and by the code."""
        rows = table("### Lengths")
        self.assertGreater(len(rows), 8)
        for row in rows:
            length, padded, pieces = (int(cell.replace(",", "")) for cell in row)
            self.assertEqual(_padme(length), padded)
            self.assertEqual(crypto.padme(length), padded)
            self.assertEqual(crypto.piece_count(length), pieces)
            self.assertEqual(max(1, -(-padded // 262_144)), pieces)


def _padme(length: int) -> int:
    """The recipe of the document, with its own words."""
    if length < 2:
        return length
    e = 0
    while 2 ** (e + 1) <= length:
        e += 1
    s = 0
    while 2**s <= e:
        s += 1
    step = 2 ** (e - s) if e > s else 1
    return -(-length // step) * step
