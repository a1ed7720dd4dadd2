"""The client's TLS: its files, read and checked when the client is created.

Invalid files are refused here with a sentence: gRPC would accept most of them and never connect.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import grpc

from sessions_client._errors import refused

if TYPE_CHECKING:
    from ssl import SSLContext

PathOrPem: TypeAlias = str | os.PathLike[str] | bytes
"""The path of a file, or its content as bytes or a string."""

_CERTIFICATE = re.compile(rb"-----BEGIN ([A-Z0-9]+ )*CERTIFICATE-----")
_PRIVATE_KEY = re.compile(rb"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----")


@dataclass(frozen=True, slots=True, kw_only=True)
class TLS:
    """TLS with your own files (or PEM bytes); `TLS()` is the same as `tls=True`."""

    ca: PathOrPem | None = None
    """The authority that signed the server's certificate; None for the well-known authorities."""
    cert: PathOrPem | None = None
    """The client's certificate, for a server that requires one; needs `key`."""
    key: PathOrPem | None = field(default=None, repr=False)
    server_name: str | None = None
    """The name in the server's certificate, if it differs from the address."""


class TlsFiles(NamedTuple):
    """The content of the files of a `TLS`."""

    ca: bytes | None
    cert: bytes | None
    key: bytes | None
    server_name: str | None


def tls_files(tls: object) -> TlsFiles | None:
    """Reads the constructor's `tls`; None for no TLS. Raises InvalidArgument if no connection could be made with it."""
    settings = _settings(tls)
    if settings is None:
        return None
    if (settings.cert is None) != (settings.key is None):
        raise refused("tls", "`cert` and `key` belong together; give both or neither.")
    if settings.server_name is not None and not isinstance(settings.server_name, str):
        raise refused("tls", f"`server_name` must be a string, not {type(settings.server_name).__name__}.")
    files = TlsFiles(
        _pem(settings.ca, _CERTIFICATE, what="certificate"),
        _pem(settings.cert, _CERTIFICATE, what="certificate"),
        _pem(settings.key, _PRIVATE_KEY, what="private key"),
        settings.server_name,
    )
    ssl_context(files)
    return files


def ssl_context(files: TlsFiles) -> SSLContext:
    """The same TLS settings for Python's `ssl`. Raises InvalidArgument for a damaged file, or a key that does not match
    the certificate."""
    import ssl  # slow to import, and a client without TLS does not need it

    try:
        context = ssl.create_default_context(cadata=None if files.ca is None else files.ca.decode("latin-1"))
    except (ssl.SSLError, ValueError) as exc:
        raise refused("tls", "the CA is damaged; give the PEM file as its authority wrote it.") from exc
    # The default since Python 3.13, and stricter than gRPC: https://github.com/python/cpython/issues/107361
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if files.cert is None or files.key is None:
        return context
    try:
        with _as_file(files.cert + b"\n" + files.key) as path:
            context.load_cert_chain(path, password=_no_password)
    except (ssl.SSLError, ValueError) as exc:
        if "MISMATCH" in str(exc):
            raise refused("tls", "`key` belongs to another certificate than `cert`; give the pair.") from exc
        what = "`key` is encrypted" if b"ENCRYPTED" in files.key else "`cert` or `key` is damaged"
        raise refused("tls", f"{what}; give unencrypted PEM files.") from exc
    return context


def credentials_of(files: TlsFiles) -> grpc.ChannelCredentials:
    """The same TLS settings for gRPC."""
    return grpc.ssl_channel_credentials(files.ca, files.key, files.cert)


def _no_password() -> str:
    raise ValueError("the key is encrypted")


@contextmanager
def _as_file(content: bytes) -> Iterator[Path]:
    """Python's `ssl` reads keys only from files: https://github.com/python/cpython/issues/60691"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pair.pem"
        path.touch(mode=0o600)
        path.write_bytes(content)
        yield path


def _settings(tls: object) -> TLS | None:
    if isinstance(tls, bool):
        return TLS() if tls else None
    if isinstance(tls, (str, bytes, os.PathLike)):
        return TLS(ca=tls)
    if not isinstance(tls, TLS):
        raise refused("tls", f"must be True, False, a CA or a `TLS`, not {type(tls).__name__}.")
    return tls


def _pem(source: PathOrPem | None, beginning: re.Pattern[bytes], *, what: str) -> bytes | None:
    if source is None:
        return None
    content = _content(source)
    if not beginning.search(content):
        raise refused("tls", f"holds no {what} in PEM form; give the path of a PEM file, or its content.")
    return content


def _content(source: PathOrPem) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, str) and "-----BEGIN " in source:
        return source.encode()
    try:
        return Path(source).read_bytes()
    except (OSError, ValueError, TypeError) as exc:
        raise refused("tls", f"the file `{source}` cannot be read; give the path of a PEM file.") from exc
