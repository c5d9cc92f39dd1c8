"""The relay: what it answers, to whom it still listens, and when mail has been delivered."""

from ._balancing import Balancing
from ._control import (
    LINE_LIMIT,
    MAILBOXES_LIMIT,
    PROTOCOLS,
    USERS_LIMIT,
    Advance,
    Answer,
    BackupRequest,
    ControlError,
    Done,
    ExpireRequest,
    Failed,
    InviteRequest,
    MailboxesRequest,
    ReleaseRequest,
    Request,
    StatusRequest,
    UsersRequest,
    Value,
    decode_answer,
    encode_request,
)
from ._control_socket import (
    ControlFactory,
    ControlSocket,
    ControlUnusable,
    control_path,
    socket_address,
)
from ._doors import Door
from ._drain import heed_signals
from ._factory import RelayFactory
from ._health import Health
from ._inspection import Inspection
from ._json_logs import JsonLogged, JsonLogObserver, Stream
from ._limits import Limits
from ._metrics import IMetrics, Metrics, NoMetrics
from ._monitoring import Monitoring
from ._postmaster import Postmaster
from ._protocol import RelayProtocol
from ._proxied import BadNetworks, Networks, read_networks
from ._proxy_header import BadHeader, Header, HeaderReader
from ._service import Expiry, RelayService, StartFailed
from ._settings import LIMITS, BadLimit, LimitSettings, read_limits

__all__ = [
    "LIMITS",
    "LINE_LIMIT",
    "MAILBOXES_LIMIT",
    "PROTOCOLS",
    "USERS_LIMIT",
    "Advance",
    "Answer",
    "BackupRequest",
    "BadHeader",
    "BadLimit",
    "BadNetworks",
    "Balancing",
    "ControlError",
    "ControlFactory",
    "ControlSocket",
    "ControlUnusable",
    "Done",
    "Door",
    "ExpireRequest",
    "Expiry",
    "Failed",
    "Header",
    "HeaderReader",
    "Health",
    "IMetrics",
    "Inspection",
    "InviteRequest",
    "JsonLogObserver",
    "JsonLogged",
    "LimitSettings",
    "Limits",
    "MailboxesRequest",
    "Metrics",
    "Monitoring",
    "Networks",
    "NoMetrics",
    "Postmaster",
    "RelayFactory",
    "RelayProtocol",
    "RelayService",
    "ReleaseRequest",
    "Request",
    "StartFailed",
    "StatusRequest",
    "Stream",
    "UsersRequest",
    "Value",
    "control_path",
    "decode_answer",
    "encode_request",
    "heed_signals",
    "read_limits",
    "read_networks",
    "socket_address",
]
