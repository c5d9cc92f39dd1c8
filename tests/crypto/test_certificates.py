"""The certificate of a relay, and its pin."""

from __future__ import annotations

import ssl
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from messageu.crypto import CryptoError
from messageu.crypto.certificates import check_certificate, expiry_of, make_certificate, pin_of


class CertificateTests(SynchronousTestCase):
    """A key and its certificate, as PEM."""

    def test_pin(self) -> None:
        """The pin is the SHA-256 of the key's SubjectPublicKeyInfo, whoever looks."""
        pem = make_certificate()
        certificate = x509.load_pem_x509_certificate(pem)
        info = certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        self.assertEqual(check_certificate(pem), sha256(info).digest())
        self.assertEqual(pin_of(certificate.public_bytes(Encoding.DER)), sha256(info).digest())

    def test_expiry(self) -> None:
        """What a certificate says of its end is read off it: ours say that there is none."""
        certificate = x509.load_pem_x509_certificate(make_certificate())
        self.assertEqual(expiry_of(certificate.public_bytes(Encoding.DER)).year, 9999)

    def test_always_another(self) -> None:
        """Each relay has a key of its own."""
        self.assertNotEqual(
            check_certificate(make_certificate()), check_certificate(make_certificate())
        )

    def test_others_can_use_it(self) -> None:
        """OpenSSL takes it for a server's."""
        path = Path(self.mktemp())
        path.write_bytes(make_certificate())
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)

    def test_unusable(self) -> None:
        """What is no certificate, has no key, or another's, is refused; nothing of it is quoted."""
        one, other = make_certificate(), make_certificate()
        middle = one.index(b"-----BEGIN CERTIFICATE")
        key, certificate = one[:middle], one[middle:]
        for pem in (
            b"",
            b"\xff",
            key,
            certificate,
            other[: other.index(b"-----BEGIN C")] + certificate,
        ):
            error = self.assertRaises(CryptoError, check_certificate, pem)
            self.assertRegex(str(error), "^its? [a-z ]+$")
        self.assertRaises(CryptoError, pin_of, b"nothing")
        self.assertRaises(CryptoError, expiry_of, b"nothing")
