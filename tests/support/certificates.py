"""Certificates for tests: an in-memory authority, and the certificates it signs."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = x509.SubjectAlternativeName(
    [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
)


@dataclass(frozen=True)
class Pair:
    """PEM."""

    certificate: bytes
    key: bytes


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class Authority:
    name: x509.Name = field(default_factory=lambda: _name("test authority"))
    _key: ec.EllipticCurvePrivateKey = field(default_factory=_new_key)

    issuer: Authority | None = None
    """The signer of its certificate; None if self-signed."""

    @property
    def certificate(self) -> bytes:
        issuer = self.issuer or self
        return issuer._sign(self.name, self._key, x509.BasicConstraints(ca=True, path_length=None))

    @property
    def trusted(self) -> ssl.SSLContext:
        """For clients that trust certificates of this authority. They have not everything that RFC 5280 asks for, which
        Python checks from 3.13 on, and neither gRPC nor the server does."""
        context = ssl.create_default_context(cadata=self.certificate.decode())
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context

    def authority(self) -> Authority:
        """An intermediate authority."""
        return Authority(_name("intermediate authority"), issuer=self)

    def issue(
        self,
        name: str = "localhost",
        *,
        valid: tuple[datetime, datetime] | None = None,
        key: Any = None,
    ) -> Pair:
        """A certificate for the loopback, valid for clients and servers."""
        key = key or _new_key()
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Pair(self._sign(_name(name), key, LOOPBACK, valid), secret)

    def _sign(
        self,
        name: x509.Name,
        key: Any,
        extension: x509.ExtensionType,
        valid: tuple[datetime, datetime] | None = None,
    ) -> bytes:
        now = datetime.now(UTC)
        begins, ends = valid or (now - timedelta(days=1), now + timedelta(days=1))
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        )
        signed = builder.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)
