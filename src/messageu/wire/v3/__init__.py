"""MessageU v3, byte for byte (docs/protocol/v3.md)."""

from ._codec import (
    DEFAULT_SEALED_LIMIT,
    DELIVER_FRAME_OVERHEAD,
    SEND_FRAME_OVERHEAD,
    RequestCodec,
    ResponseCodec,
)
from ._fields import PUSH, REQUEST_HEADER_SIZE, RESPONSE_HEADER_SIZE, VERSION
from ._requests import (
    ACKNOWLEDGEMENTS_LIMIT,
    REQUESTS,
    Acknowledge,
    Authenticate,
    Claim,
    DeleteAccount,
    Hello,
    Ping,
    Publish,
    Register,
    Request,
    RequestBody,
    RequestCode,
    Resolve,
    Send,
    Subscribe,
    UnknownRequest,
)
from ._responses import (
    PUSHES,
    RESPONSES,
    AccountDeleted,
    Acknowledged,
    Authenticated,
    Claimed,
    Deliver,
    Displaced,
    Error,
    GoingAway,
    Pong,
    PrekeysLow,
    Published,
    Registered,
    Resolved,
    Response,
    ResponseBody,
    ResponseCode,
    Stored,
    Subscribed,
    Welcome,
    push,
)

__all__ = [
    "ACKNOWLEDGEMENTS_LIMIT", "DEFAULT_SEALED_LIMIT", "DELIVER_FRAME_OVERHEAD", "PUSH", "PUSHES",
    "REQUESTS", "REQUEST_HEADER_SIZE", "RESPONSES", "RESPONSE_HEADER_SIZE", "SEND_FRAME_OVERHEAD",
    "VERSION", "AccountDeleted", "Acknowledge", "Acknowledged", "Authenticate", "Authenticated",
    "Claim", "Claimed", "DeleteAccount", "Deliver", "Displaced", "Error", "GoingAway", "Hello",
    "Ping", "Pong", "PrekeysLow", "Publish", "Published", "Register", "Registered", "Request",
    "RequestBody", "RequestCode", "RequestCodec", "Resolve", "Resolved", "Response",
    "ResponseBody", "ResponseCode", "ResponseCodec", "Send", "Stored", "Subscribe", "Subscribed",
    "UnknownRequest", "Welcome", "push",
]  # fmt: skip
