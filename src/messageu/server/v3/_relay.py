"""The part of a relay that is v3: its doors, its certificate, and who is inside."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from messageu.model.v3 import Registration
from messageu.store import News
from messageu.store.v3 import IAccountStore

from .._doors import Door
from .._limits import Limits
from .._metrics import NOBODY_ASKS, IMetrics
from .._notices import Notices
from ._certificate_file import OwnCertificate, open_certificate
from ._factory import RelayFactory
from ._tls import TlsFactory


@frozen
class Offer:
    """What a relay offers over v3.

    :ivar doors: where it listens; the endpoints are plain, TLS is put around them.
    :ivar certificate: the file that holds its certificate and the key; made when it is missing.
    :ivar now: the time, in seconds since the epoch.
    """

    doors: Sequence[Door]
    certificate: Path
    store: IAccountStore
    registration: Registration
    now: Callable[[], float]


class Relay:
    """Serves v3.

    :param peer_name: what a peer is called in the log, by its address.
    :ivar offer: what it offers.
    :ivar listener: makes its connections.
    """

    def __init__(
        self,
        offer: Offer,
        clock: IReactorTime,
        limits: Limits,
        peer_name: Callable[[str], str],
        notices: Notices,
        metrics: IMetrics = NOBODY_ASKS,
    ) -> None:
        self.offer = offer
        self._factory = RelayFactory(
            offer.store,
            clock,
            limits,
            now=offer.now,
            registration=offer.registration,
            peer_name=peer_name,
            notices=notices,
            metrics=metrics,
        )
        self.listener = TlsFactory(self._factory, clock)
        self._certificate: OwnCertificate | None = None

    def open(self) -> None:
        """Read the certificate, or make one. Called while the database is locked for us, as the
        user that the relay runs as.

        :raises CertificateUnusable: when that is not possible.
        """
        self._certificate = open_certificate(self.offer.certificate)
        self.listener.load(self._certificate.pem)

    @property
    def pin(self) -> str:
        """By which clients know it, as it stands in its address; empty until it is open."""
        if self._certificate is None:
            return ""
        return urlsafe_b64encode(self._certificate.pin).rstrip(b"=").decode("ascii")

    def status(self) -> Mapping[str, object]:
        """What messageu-admin shows: numbers, and what everybody may know."""
        limits = self._factory.exchange.limits
        return {
            "v3_pin": self.pin,
            "v3_registration": self.offer.registration.name.lower(),
            "v3_connections": f"{limits.v3_connections} of {limits.settings.v3_connections}",
            "v3_subscriptions": self.subscriptions,
            **{f"v3_{name}": count for name, count in sorted(self.counts.items())},
        }

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._factory.connections

    @property
    def subscriptions(self) -> int:
        """How many mailboxes are pushed."""
        return len(self._factory.exchange.postmaster.subscriptions)

    @property
    def counts(self) -> Mapping[str, int]:
        """How often what has happened to envelopes."""
        return self._factory.exchange.postmaster.counts

    def hear(self, news: News) -> None:
        """What other relays on the same database have done."""
        self._factory.exchange.postmaster.hear(news)

    def expire(self) -> Deferred[int]:
        """Delete mail whose life is over; how many envelopes are gone."""
        postmaster = self._factory.exchange.postmaster
        life = postmaster.limits.settings.mail_life
        return self.offer.store.expire(self.offer.now() - life)

    def drain(self) -> Deferred[None]:
        """Say goodbye to everybody, let them finish, and fire when the last one is gone."""
        return self._factory.drain()
