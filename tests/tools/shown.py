"""What a dissector should show of each frame: told by our own value objects, field by field."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from messageu.model import ListedClient
from messageu.model.v3 import Bundle, IdentityKeys, OneTimeKey
from messageu.wire import v2, v3

Value = int | str | bytes
Field = tuple[str, Value]


def escaped(raw: bytes) -> str:
    """A name as a terminal may be shown it."""
    return "".join(
        r"\\" if byte == 0x5C else chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}"
        for byte in raw
    )


def _present(name: str, raw: bytes) -> list[Field]:
    """A field that is not shown when it has no bytes."""
    return [(name, raw)] if raw else []


# v2


def _waiting(message: v2.WaitingMessage) -> list[Field]:
    return [
        ("from", message.sender.raw),
        ("message_id", message.message_id.number),
        ("type", int(message.type)),
        ("content_size", len(message.content)),
        *_present("content", message.content),
    ]


def _listed(client: ListedClient) -> list[Field]:
    return [("listed", client.client_id.raw), ("name", escaped(client.name))]


_V2: Final[dict[type, Callable[[Any], list[Field]]]] = {
    v2.Register: lambda body: [
        ("name", escaped(body.name.raw)),
        ("public_key", body.public_key.raw),
    ],
    v2.ListClients: lambda _: [],
    v2.GetPublicKey: lambda body: [("owner", body.client_id.raw)],
    v2.SendMessage: lambda body: [
        ("to", body.recipient.raw),
        ("type", int(body.type)),
        ("content_size", len(body.content)),
        *_present("content", body.content),
    ],
    v2.FetchMessages: lambda _: [],
    v2.Registered: lambda answer: [("registered", answer.client_id.raw)],
    v2.ClientsList: lambda answer: [
        shown for client in answer.clients for shown in _listed(client)
    ],
    v2.PublicKeyOf: lambda answer: [
        ("owner", answer.client_id.raw),
        ("public_key", answer.public_key.raw),
    ],
    v2.Stored: lambda answer: [
        ("to", answer.recipient.raw),
        ("message_id", answer.message_id.number),
    ],
    v2.WaitingMessages: lambda answer: [
        shown for message in answer.messages for shown in _waiting(message)
    ],
    v2.GeneralError: lambda _: [],
}

_V2_CODES: Final[dict[type, int]] = {
    v2.ClientsList: v2.ResponseCode.CLIENTS_LIST,
    v2.WaitingMessages: v2.ResponseCode.WAITING_MESSAGES,
}


def v2_request(request: v2.Request) -> list[Field]:
    """A request of v2."""
    return [
        ("client_id", request.client_id.raw),
        ("version", request.version),
        ("code", int(request.body.code)),
        ("size", len(request.body.encode())),
        *_V2[type(request.body)](request.body),
    ]


def v2_answer(answer: v2.Response) -> list[Field]:
    """An answer of v2."""
    kind: Any = type(answer)
    code = _V2_CODES.get(kind) or kind.code
    return [
        ("version", v2.VERSION),
        ("code", int(code)),
        ("size", len(answer.encode()) - 7),
        *_V2[kind](answer),
    ]


# v3


def _keys(keys: IdentityKeys) -> list[Field]:
    return [("ed25519", keys.ed25519), ("curve25519", keys.curve25519)]


def _bundle(bundle: Bundle) -> list[Field]:
    return [
        ("identity", bundle.identity.raw),
        ("bundle_sequence", bundle.sequence),
        ("not_after", bundle.not_after),
        ("hpke_key_id", bundle.hpke_key_id),
        ("ml_kem_key", bundle.hpke_key[:1184]),
        ("x25519_key", bundle.hpke_key[1184:]),
        ("key_id", bundle.fallback_key_id),
        ("fallback_key", bundle.fallback_key),
        ("reserved", 0),
        ("signature", bundle.signature),
    ]


def _one_time_keys(keys: Iterable[OneTimeKey]) -> list[Field]:
    return [
        shown
        for key in keys
        for shown in (
            ("key_id", key.key_id),
            ("one_time_key", key.key),
            ("signature", key.signature),
        )
    ]


def _register(body: v3.Register) -> list[Field]:
    token = body.token or b""
    return [
        ("name_size", len(body.name)),
        *([("name", escaped(body.name))] if body.name else []),
        ("token_size", len(token)),
        *_present("token", token),
    ]


def _claimed(body: v3.Claimed) -> list[Field]:
    keys = [] if body.one_time_key is None else [body.one_time_key]
    return [
        *_keys(body.keys),
        *_bundle(body.bundle),
        ("one_time_keys", len(keys)),
        *_one_time_keys(keys),
    ]


def _welcome(body: v3.Welcome) -> list[Field]:
    terms = body.terms
    return [
        ("nonce", body.nonce),
        ("time", body.time),
        ("sealed_limit", terms.sealed_size),
        ("mailbox_messages", terms.mailbox_messages),
        ("mailbox_bytes", terms.mailbox_bytes),
        ("window_messages", terms.window_messages),
        ("window_bytes", terms.window_bytes),
        ("one_time_keys", terms.one_time_keys),
        ("mail_life", terms.mail_life),
        ("idle", terms.idle),
        ("registration", terms.registration.value),
        ("reserved", 0),
    ]


def _nothing(_: object) -> list[Field]:
    return []


def _key_count(body: Any) -> list[Field]:
    return [("one_time_keys", body.one_time_keys)]


def _send(body: v3.Send) -> list[Field]:
    envelope = body.envelope
    return [
        ("account_id", envelope.recipient.raw),
        ("envelope_id", envelope.envelope_id.raw),
        ("hpke_key_id", envelope.hpke_key_id),
        *_present("sealed", envelope.sealed),
    ]


def _deliver(body: v3.Deliver) -> list[Field]:
    delivery = body.delivery
    return [
        ("sequence", delivery.sequence),
        ("envelope_id", delivery.envelope_id.raw),
        ("hpke_key_id", delivery.hpke_key_id),
        *_present("sealed", delivery.sealed),
    ]


_V3: Final[dict[type, Callable[[Any], list[Field]]]] = {
    v3.Hello: _nothing,
    v3.Authenticate: lambda body: [
        *_keys(body.keys),
        ("generation", body.generation),
        ("signature", body.signature),
    ],
    v3.Register: _register,
    v3.Resolve: lambda body: [("name", escaped(body.name))],
    v3.Publish: lambda body: [
        *_bundle(body.bundle),
        ("one_time_keys", len(body.one_time_keys)),
        *_one_time_keys(body.one_time_keys),
    ],
    v3.Claim: lambda body: [("account_id", body.account_id.raw)],
    v3.Send: _send,
    v3.Subscribe: lambda body: [
        ("window_messages", body.messages),
        ("window_bytes", body.size),
    ],
    v3.Acknowledge: lambda body: [("sequence", sequence) for sequence in body.sequences],
    v3.DeleteAccount: _nothing,
    v3.Ping: _nothing,
    v3.Welcome: _welcome,
    v3.Authenticated: lambda body: [
        ("registered", int(body.registered)),
        ("one_time_keys", body.one_time_keys),
    ],
    v3.Registered: _nothing,
    v3.Resolved: lambda body: _keys(body.keys),
    v3.Published: _key_count,
    v3.Claimed: _claimed,
    v3.Stored: lambda body: [("envelope_id", body.envelope_id.raw)],
    v3.Subscribed: _nothing,
    v3.Acknowledged: _nothing,
    v3.AccountDeleted: _nothing,
    v3.Pong: _nothing,
    v3.Deliver: _deliver,
    v3.Displaced: _nothing,
    v3.PrekeysLow: _key_count,
    v3.GoingAway: lambda body: [("retry_after", body.retry_after)],
    v3.Error: lambda body: [
        ("reason", int(body.reason)),
        ("retry_after", body.retry_after),
    ],
}


def v3_frame(frame: v3.Request | v3.Response) -> list[Field]:
    """A request, an answer or a push of v3."""
    body: Any = frame.body
    client_id: list[Field] = [("client_id", bytes(16))] if isinstance(frame, v3.Request) else []
    return [
        *client_id,
        ("version", 3),
        ("code", int(body.code)),
        ("size", 4 + len(body.encode())),
        ("correlation", frame.correlation),
        *_V3[type(body)](body),
    ]
