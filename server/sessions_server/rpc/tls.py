"""TLS of the gRPC port: its files, checked at startup and loaded again when they change.

gRPC accepts unusable files, and then refuses every handshake with errors that name no file.
"""

from __future__ import annotations

import itertools
import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sessions_server.domain.errors import SetupError
from sessions_server.rpc.handshakes import report

logger = logging.getLogger(__name__)

CERT, KEY, CLIENT_CA = "SESSIONS_TLS_CERT", "SESSIONS_TLS_KEY", "SESSIONS_TLS_CLIENT_CA"

_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
_RSA_BITS: Final = range(2048, 8193)

Files: TypeAlias = tuple[bytes, bytes, bytes | None]
Stamp: TypeAlias = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Tls:
    """The operator's files."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    """If set, only clients with a certificate of this authority are accepted."""

    def read(self) -> Files:
        """The contents of the files. Raises SetupError, naming the setting, if one cannot be used."""
        chain, key = _read(self.certificate, CERT), _read(self.key, KEY)
        certificates = _certificates(chain, CERT)
        _check_dates(certificates[0], CERT)
        _check_order(certificates)
        _check_key(key, certificates[0])
        if self.client_ca is None:
            return chain, key, None
        authority = _read(self.client_ca, CLIENT_CA)
        _check_dates(
            max(_certificates(authority, CLIENT_CA), key=lambda one: one.not_valid_after_utc), CLIENT_CA
        )
        return chain, key, authority

    def expires(self) -> datetime:
        """When the certificate or the client authority expires, whichever is first. Raises SetupError."""
        chain, _, authority = self.read()
        ends = [_certificates(chain, CERT)[0].not_valid_after_utc]
        if authority is not None:
            ends.append(max(each.not_valid_after_utc for each in _certificates(authority, CLIENT_CA)))
        return min(ends)

    def credentials(self) -> grpc.ServerCredentials:
        """The credentials for binding a port. Changed files are loaded at the next handshake; unusable ones are logged
        and ignored."""
        files = self.read()
        initial = _configuration(files)
        return grpc.dynamic_ssl_server_credentials(
            initial,
            _Reload(self),  # type: ignore[arg-type]  # the stubs lack None, which means unchanged
            require_client_authentication=self.client_ca is not None,
        )

    def handshake_failed(self, reason: str, more: str) -> None:
        """Logs a failed handshake of another port with these files."""
        report(reason, more)

    def stamp(self) -> Stamp:
        """A fingerprint that changes with the files. Raises OSError."""
        paths = [path for path in (self.certificate, self.key, self.client_ca) if path is not None]
        return tuple(
            (stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in (path.stat() for path in paths)
        )


class _Reload:
    """Called by gRPC before each handshake, in its own thread. Returns the changed configuration, or None."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._stamp = tls.stamp()

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        with suppress(OSError):
            stamp = self._tls.stamp()
            if stamp == self._stamp:
                return None
            self._stamp = stamp
            try:
                configuration = _configuration(self._tls.read())
            except SetupError as error:
                logger.error("the changed TLS files are not used: %s", error)
                return None
            logger.info("the changed TLS files are in use")
            return configuration
        return None


def read_tls(certificate: Path | None, key: Path | None, client_ca: Path | None) -> Tls | None:
    """None if no file is given. Raises SetupError if a file is missing or unusable."""
    if certificate is key is client_ca is None:
        return None
    if certificate is None or key is None:
        raise SetupError(
            f"TLS needs both a certificate and its key; give {CERT} and {KEY}"
            + (f", also where {CLIENT_CA} is given." if client_ca else ".")
        )
    tls = Tls(certificate, key, client_ca)
    tls.read()
    return tls


def _configuration(files: Files) -> grpc.ServerCertificateConfiguration:
    chain, key, authority = files
    return grpc.ssl_server_certificate_configuration([(key, chain)], authority)


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SetupError(
            f"{setting}: {path} cannot be read ({error.strerror}); let the server's user read it."
        ) from error


def _certificates(content: bytes, setting: str) -> list[x509.Certificate]:
    # Without certificates in the file, gRPC would trust the system's authorities.
    if not re.search(rb"-----BEGIN [A-Z0-9 ]*CERTIFICATE", content):
        raise SetupError(f"{setting}: the file has no certificate in PEM; name a file that has one.")
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise SetupError(
            f"{setting}: a certificate in the file is damaged; copy it again from its authority."
        ) from error


def _check_dates(certificate: x509.Certificate, setting: str) -> None:
    now = datetime.now(UTC)
    if certificate.not_valid_after_utc < now:
        raise SetupError(
            f"{setting}: the certificate expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; renew it."
        )
    if certificate.not_valid_before_utc > now:
        raise SetupError(
            f"{setting}: the certificate is valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on; "
            "check the clock, or use the one that is valid now."
        )


def _check_order(chain: list[x509.Certificate]) -> None:
    for certificate, issuer in itertools.pairwise(chain):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise SetupError(
                f"{CERT}: the certificates are not in order; put the server's own first, and after each the one that "
                "signed it."
            ) from error


def _check_key(content: bytes, certificate: x509.Certificate) -> None:
    if not re.search(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY", content):
        raise SetupError(f"{KEY}: the file has no private key in PEM; name a file that has one.")
    try:
        key = load_pem_private_key(content, None)
    except TypeError as error:
        raise SetupError(
            f"{KEY}: the key is encrypted; decrypt it into a file that only the server reads."
        ) from error
    except ValueError as error:
        raise SetupError(
            f"{KEY}: the key is damaged or of an unsupported type; create another one."
        ) from error
    if key.public_key() != certificate.public_key():
        raise SetupError(f"{KEY}: the key does not belong to the first certificate of {CERT}; give the pair.")
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, _CURVES):
        return
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size in _RSA_BITS:
        return
    raise SetupError(
        f"{KEY}: gRPC cannot serve with a key of this kind; use P-256 or P-384, or RSA of 2048 to 8192 bits."
    )
