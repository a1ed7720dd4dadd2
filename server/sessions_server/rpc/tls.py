"""The files that TLS needs, read once at the start."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sessions_server.domain.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM, as read from the operator's files."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None = None
    """Given: only clients with a certificate of this authority are served."""


def read_tls(certificate: Path | None, key: Path | None, client_ca: Path | None) -> Tls | None:
    """None when no file is named. Raises SetupError for one that is missing or cannot be used."""
    if certificate is key is client_ca is None:
        return None
    if certificate is None or key is None:
        raise SetupError(
            "TLS needs both a certificate and its key; give SESSIONS_TLS_CERT and SESSIONS_TLS_KEY"
            + (", also where SESSIONS_TLS_CLIENT_CA is given." if client_ca else ".")
        )
    return Tls(
        _read_pem(certificate, "CERTIFICATE"),
        _read_pem(key, "PRIVATE KEY"),
        None if client_ca is None else _read_pem(client_ca, "CERTIFICATE"),
    )


def _read_pem(path: Path, holds: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SetupError(
            f"{path} cannot be read ({error.strerror}); let the server's user read it."
        ) from error
    # gRPC takes an authority's file without any for the authorities that the system trusts.
    if not re.search(rb"-----BEGIN [A-Z0-9 ]*" + holds.encode(), content):
        raise SetupError(f"{path} has no {holds.lower()} in PEM; name a file that has one.")
    return content
