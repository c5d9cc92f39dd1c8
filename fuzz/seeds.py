"""Makes the seeds in ``corpus``: ``python -m fuzz.seeds``. What else is there stays as it is."""

from __future__ import annotations

import sqlite3
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from messageu.client import Keyring
from messageu.crypto.v2 import wrap
from messageu.crypto.v3 import Ciphertext, FileOffer, Kind, Message, _seals, encode_receipt
from messageu.model import ClientId, ListedClient, PublicKey
from messageu.model.v3 import IdentityKeys
from messageu.store._schema import create_tables, create_views
from messageu.wire import v2, v3
from tests.dumps import dumps
from tests.server import test_proxy_header as proxied
from tests.vectors import wild_peers
from tests.wire.v2 import _golden as golden

from . import contents, envelopes
from .databases import PEOPLE
from .files import OWNER
from .targets import TARGETS


def main() -> None:
    """Write all seeds."""
    seeds = {
        "requests": dict(_requests()),
        "responses": dict(_responses()),
        "requests_v3": dict(_requests_v3()),
        "responses_v3": dict(_responses_v3()),
        "header": dict(_headers()),
        "identity": dict(_identities()),
        "keyring": dict(_keyrings()),
        "address": _ADDRESSES,
        "envelopes": dict(_envelopes()),
        "contents": dict(_contents()),
        "terminal": _TEXTS,
        "rows": _ROWS,
        "database": dict(_databases()),
    }
    for name, inputs in seeds.items():
        _write(TARGETS[name].corpus, inputs)


def _write(folder: Path, inputs: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in inputs.items():
        (folder / f"seed-{name}").write_bytes(data)


def _requests() -> Iterator[tuple[str, bytes]]:
    for name, (_, dump) in golden.REQUESTS.items():
        yield f"golden-{name.replace(' ', '-')}", bytes.fromhex(dump)
    for name, frame in dumps("v2.md").items():
        if name.startswith("6"):
            yield f"document-{name}", frame
    for peer in wild_peers():
        for number, frames in peer.connections().items():
            yield f"wild-{peer.label}-{number}", b"".join(frames)
    send = v2.Request(golden.ALICE, v2.SendMessage(golden.BOB, 3, b"sealed")).encode()
    yield "pipelined", send * 5 + v2.Request(golden.ALICE, v2.FetchMessages()).encode() + send * 2
    yield "unknown-code", send[:17] + b"\x57\x02\x03\x00\x00\x00..." + send
    yield "disagreeing-size", send[:40] + b"\x05" + send[41:] + send
    yield "too-large", send + send[:19] + b"\xff\xff\xff\xff" + send


def _responses() -> Iterator[tuple[str, bytes]]:
    for name, (_, _, dump) in golden.RESPONSES.items():
        yield f"golden-{name.replace(' ', '-')}", bytes.fromhex(dump)
    for name, frame in dumps("v2.md").items():
        if name.isdigit() and not name.startswith("6"):
            yield f"document-{name}", frame
    listed = v2.ClientsList((ListedClient(golden.ALICE, b"\x1b[2J"), golden._LISTED[1])).encode()
    yield "list-with-garbage", listed[:40] + b"garbage" + listed[47:]
    yield "list-without-nul", listed[:23] + b"n" * 255 + listed[278:]
    yield "error-with-words", b"\x02\x28\x23\x05\x00\x00\x00words" + listed
    waiting = v2.WaitingMessages(golden._WAITING).encode()
    large = v2.WaitingMessage(golden.ALICE, golden._WAITING[0].message_id, 4, bytes(300))
    yield "oversized", v2.WaitingMessages((large, *golden._WAITING)).encode() + waiting
    yield "item-too-long", waiting[:-4] + b"\x09\x00\x00\x00"
    yield "cut-head", waiting[:3] + b"\x30\x00\x00\x00" + waiting[7:]


def _requests_v3() -> Iterator[tuple[str, bytes]]:
    frames = {int(name): raw for name, raw in dumps("v3.md").items() if name.isdigit()}
    for code in v3.RequestCode:
        yield f"document-{code}", frames[code]
    yield "two", frames[710] + frames[703]
    yield "empty-registration", v3.Request(1, v3.Register(b"")).encode()
    yield "token", v3.Request(2**32 - 1, v3.Register(b"bob", bytes(16))).encode()
    yield "unknown-code", frames[703].replace(b"\xbf\x02", b"\xc7\x02") + frames[700]
    yield "client-id", b"\x01" + frames[710][1:]
    yield "no-correlation", frames[710][:-4] + bytes(4)
    yield "other-count", frames[704][:-106] + b"\x02" + frames[704][-105:]


def _responses_v3() -> Iterator[tuple[str, bytes]]:
    frames = {int(name): raw for name, raw in dumps("v3.md").items() if name.isdigit()}
    for code in v3.ResponseCode:
        yield f"document-{code}", frames[code]
    yield "two", frames[2710] + frames[2721]
    yield "error-of-no-request", frames[9001][:7] + bytes(4) + frames[9001][11:]
    yield "unknown-reason", frames[9001][:-6] + b"\xff\xff" + frames[9001][-4:]
    yield "push-with-correlation", frames[2721][:-4] + b"\x01\0\0\0"
    yield "unknown-mode", frames[2700][:-2] + b"\x03\0"
    yield "reserved", frames[2700][:-1] + b"\xff"


def _headers() -> Iterator[tuple[str, bytes]]:
    rest = v2.Request(golden.ALICE, v2.FetchMessages()).encode()
    for number, data in enumerate(proxied.GOOD):
        yield f"good-{number:02}", data + rest
    for number, data in enumerate(proxied.BAD):
        yield f"bad-{number:02}", data


def _identities() -> Iterator[tuple[str, bytes]]:
    for peer in wild_peers():
        for person, kept in peer.identities.items():
            text = b"\n".join((kept.name, kept.client_id.hex().encode(), _base64(kept.private_key)))
            yield f"{peer.label}-{person}", text
    anna = wild_peers()[0].identities["A"]
    spaced = anna.client_id.hex(" ").upper().encode()
    key = _base64(anna.private_key, width=76)
    yield "windows", b"\r\n".join((b"\xef\xbb\xbfanna\0garbage", spaced, b"", key, b"", b""))


def _base64(der: bytes, width: int = 0) -> bytes:
    text = b64encode(der)
    if not width:
        return text
    return b"\r\n".join(text[at : at + width] for at in range(0, len(text), width))


def _keyrings() -> Iterator[tuple[str, bytes]]:
    ring = Keyring(OWNER)
    yield "empty", ring.encode()
    anna, bern = ClientId(PEOPLE[0][0]), ClientId(PEOPLE[1][0])
    ring.relay_version = 1
    ring.learn_names([ListedClient(anna, b"anna"), ListedClient(bern, b"\xff\x1b\xc3\xa9")])
    ring.share(anna, envelopes.KEY)
    yield "two-peers", ring.encode()
    ring.learn_public_key(bern, PublicKey(bytes(160)))
    yield "public-key", ring.encode()
    yield "utf-16", ring.encode().decode().encode("utf-16")
    yield "other-format", ring.encode().replace(b'"format": 1', b'"format": 2')


def _envelopes() -> Iterator[tuple[str, bytes]]:
    own = envelopes.private_key()
    key = wrap(own.public_key, envelopes.KEY)
    yield "request", b"\x01"
    yield "request-with-content", b"\x01" + bytes(128)
    yield "key", b"\x02" + key
    yield "key-of-another-size", b"\x02" + key[1:]
    yield "text", b"\x03" + envelopes.KEY.seal(b"hello")
    yield "empty-text", b"\x03" + envelopes.KEY.seal(b"")
    yield "unpadded-text", b"\x03" + bytes(32)
    yield "file", b"\x04" + envelopes.KEY.seal(bytes(range(100)))
    yield "unknown-type", b"\x05hello"
    for peer in wild_peers():
        for person, kept in peer.identities.items():
            yield f"private-{peer.label}-{person}", b"\xf0" + kept.private_key
    yield "public", b"\xf1" + own.public_key.raw


def _contents() -> Iterator[tuple[str, bytes]]:
    anna = IdentityKeys(b"a" * 32, b"A" * 32)
    bern = IdentityKeys(b"b" * 32, b"B" * 32)
    offer = FileOffer(b"k" * 32, 5, b"d" * 32, 1, "fünf.txt", "text/plain").encode()
    receipt = encode_receipt([bytes(16), b"\xff" * 16])
    for name, sequence, kind, body in (
        ("text", 1, Kind.TEXT, b"hello"),
        ("receipt", 0, Kind.RECEIPT, receipt),
        ("file", 2, Kind.FILE, offer),
        ("renewal", 3, Kind.RENEWAL, b""),
        ("profile", 0, Kind.PROFILE, b"Anna"),
        ("unknown", 2**64 - 1, 255, b"?"),
    ):
        message = Message(anna, bern, bytes(range(16)), sequence, 1, 2, kind, body).encode()
        yield f"message-{name}", bytes((contents.MESSAGE,)) + message
        content = _seals._content(anna, Ciphertext(sequence % 2, message))
        yield f"seal-{name}", bytes((contents.SEAL,)) + content
    yield "offer", bytes((contents.OFFER,)) + offer
    yield "offer-without-texts", bytes((contents.OFFER,)) + offer[:76] + bytes(3)
    yield "receipt", bytes((contents.RECEIPT,)) + receipt


def _databases() -> Iterator[tuple[str, bytes]]:
    anna, bern = PEOPLE[:2]
    tables = (
        "CREATE TABLE clients (ID, UserName, PublicKey, LastSeen)",
        "CREATE TABLE messages (ID, ToClient, FromClient, Type, Content)",
    )
    fill = (
        ("INSERT INTO clients VALUES (?, ?, ?, ?)", (*anna, "2020-01-02 03:04:05")),
        ("INSERT INTO clients VALUES (?, ?, ?, ?)", (*bern, None)),
        ("INSERT INTO messages VALUES (?, ?, ?, ?, ?)", (1, anna[0], bern[0], 3, b"content")),
    )
    with TemporaryDirectory() as folder:
        path = Path(folder, "database")
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA page_size = 512")
            for table in tables:
                connection.execute(table)
            for statement, row in fill:
                connection.execute(statement, row)
            connection.commit()
        yield "foreign", path.read_bytes()
        path.unlink()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA page_size = 512")
            create_tables(connection.cursor())
            create_views(connection.cursor())
            connection.commit()
        yield "ours", path.read_bytes()
        path.unlink()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA page_size = 512")
            connection.execute("CREATE TABLE other (ID)")
        yield "another-program", path.read_bytes()
    yield "empty", b""
    yield "magic", b"SQLite format 3\0"
    yield "text", b"not a database\n"


_ADDRESSES: Final = {
    "ipv4": b"127.0.0.1:1357\n",
    "ipv6": b"[::1]:1357",
    "scope": b"[fe80::1%eth0]:1357",
    "mapped": b"[::ffff:127.0.0.1]:1357",
    "name": b"relay.example.:65535\r\n",
    "spaces": b"\xef\xbb\xbf\n  localhost : 80 \0\n",
    "no-port": b"127.0.0.1",
    "no-brackets": b"::1:1357",
    "other-digits": "١٢٧.٠.٠.١:1357".encode(),
    "underscore": b"_a._b:1",
    "punycode": b"xn--bcher-kva.example:1357",
}

_TEXTS: Final = {
    "ordinary": "héllo wörld, שלום, 你好 😀\n\ttwo lines".encode(),
    "end-mark": b"hello\n-----<EOM>-----\n\nFrom: bob\nContent:\nhi\n",
    "escapes": b"\x1b[2J\x1b]0;title\x07\x9b\x7f\0",
    "directions": "\u202eevil\u2066\u2069\u200b\ufeff".encode(),
    "wide": "\uff0d\uff0d\uff1c\uff25\uff2f\uff2d\uff1e".encode(),
    "no-utf-8": b"\xff\xfe\xed\xa0\x80",
    "far-to-the-right": b" " * 320 + b"-----<EOM>-----\n" + b"\t" * 300 + b"From: bob",
    "fillers": "\u3164From: bob\n\u115f-----<EOM>-----\n\u2800From: bob".encode(),
}

_ROWS: Final = {
    "nothing": b"",
    "two-clients": b"\x00" + bytes(5) + b"\x00\x02\x02\x02\x01\x00",
    "client-and-message": b"\x02" + bytes(5) + b"\x01\x00\x00\x00\x00\x03\x06abc",
    "same-name": b"\x00" + bytes(5) + b"\x00\x02\x00\x02\x00",
    "odd-cells": b"\x0c\x00\x01\x0b\xff\x01\x02\0\0\0\0\0\0\xf0\x7f\x01\x00\x39" + b"\xff" * 8,
    "generated-column": b"\x12" + bytes(5) + b"\x01\x00\x00\x00\x00\x03\x06abc",
    "no-last-seen": b"\x01" + bytes(4) * 3,
}


if __name__ == "__main__":
    main()
