"""Frames written out by hand, and what they mean."""

from messageu.model import ClientId, ListedClient, MessageId, PublicKey, UserName
from messageu.wire import v2

ALICE = ClientId(bytes.fromhex("a1a2a3a4a5a6a7a8a9aaabacadaeafb0"))
BOB = ClientId(bytes.fromhex("b1b2b3b4b5b6b7b8b9babbbcbdbebfc0"))

KEY_HEX = (
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"
    "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f"
    "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f"
    "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"
)
KEY = PublicKey(bytes.fromhex(KEY_HEX))

REQUESTS = {
    "600": (
        v2.Request(ClientId(bytes(16)), v2.Register(UserName(b"alice"), KEY)),
        "00000000000000000000000000000000"  # nobody yet
        "02"  # version
        "5802"  # 600
        "9f010000"  # 415
        "616c696365" + "00" * 250 + KEY_HEX,
    ),
    "601": (
        v2.Request(ALICE, v2.ListClients()),
        "a1a2a3a4a5a6a7a8a9aaabacadaeafb0 02 5902 00000000",
    ),
    "602": (
        v2.Request(ALICE, v2.GetPublicKey(BOB)),
        "a1a2a3a4a5a6a7a8a9aaabacadaeafb0 02 5a02 10000000 b1b2b3b4b5b6b7b8b9babbbcbdbebfc0",
    ),
    "603": (
        v2.Request(ALICE, v2.SendMessage(BOB, v2.MessageType.TEXT, b"sealed")),
        (
            "a1a2a3a4a5a6a7a8a9aaabacadaeafb0 02 5b02 1b000000"  # 27
            "b1b2b3b4b5b6b7b8b9babbbcbdbebfc0"  # to
            "03"  # type
            "06000000"  # content size
            "7365616c6564"
        ),
    ),
    "603 without content": (
        v2.Request(ALICE, v2.SendMessage(BOB, v2.MessageType.KEY_REQUEST, b"")),
        (
            "a1a2a3a4a5a6a7a8a9aaabacadaeafb0 02 5b02 15000000"
            "b1b2b3b4b5b6b7b8b9babbbcbdbebfc0 01 00000000"
        ),
    ),
    "604": (
        v2.Request(ALICE, v2.FetchMessages()),
        "a1a2a3a4a5a6a7a8a9aaabacadaeafb0 02 5c02 00000000",
    ),
    "604 of version 1": (
        v2.Request(ALICE, v2.FetchMessages(), version=1),
        "a1a2a3a4a5a6a7a8a9aaabacadaeafb0 01 5c02 00000000",
    ),
}

_LISTED = (ListedClient(ALICE, b"alice"), ListedClient(BOB, b"bob"))
_WAITING = (
    v2.WaitingMessage(ALICE, MessageId(0x01020304), v2.MessageType.TEXT, b"sealed"),
    v2.WaitingMessage(BOB, MessageId(0xFFFFFFFF), v2.MessageType.KEY_REQUEST, b""),
)

RESPONSES = {
    "2100": (
        v2.Registered(ALICE),
        (v2.Registered(ALICE),),
        "02 3408 10000000 a1a2a3a4a5a6a7a8a9aaabacadaeafb0",
    ),
    "2101": (
        v2.ClientsList(_LISTED),
        (*_LISTED, v2.EndOfClients()),
        "02 3508 1e020000"  # 542
        "a1a2a3a4a5a6a7a8a9aaabacadaeafb0 616c696365" + "00" * 250 + ""
        "b1b2b3b4b5b6b7b8b9babbbcbdbebfc0 626f62" + "00" * 252,
    ),
    "2101 of nobody": (v2.ClientsList(()), (v2.EndOfClients(),), "02 3508 00000000"),
    "2102": (
        v2.PublicKeyOf(BOB, KEY),
        (v2.PublicKeyOf(BOB, KEY),),
        "02 3608 b0000000 b1b2b3b4b5b6b7b8b9babbbcbdbebfc0" + KEY_HEX,
    ),
    "2103": (
        v2.Stored(BOB, MessageId(0x01020304)),
        (v2.Stored(BOB, MessageId(0x01020304)),),
        "02 3708 14000000 b1b2b3b4b5b6b7b8b9babbbcbdbebfc0 04030201",
    ),
    "2104": (
        v2.WaitingMessages(_WAITING),
        (*_WAITING, v2.EndOfMessages()),
        (
            "02 3808 38000000"  # 56
            "a1a2a3a4a5a6a7a8a9aaabacadaeafb0 04030201 03 06000000 7365616c6564"
            "b1b2b3b4b5b6b7b8b9babbbcbdbebfc0 ffffffff 01 00000000"
        ),
    ),
    "2104 of nothing": (v2.WaitingMessages(()), (v2.EndOfMessages(),), "02 3808 00000000"),
    "9000": (v2.GeneralError(), (v2.GeneralError(),), "02 2823 00000000"),
}
