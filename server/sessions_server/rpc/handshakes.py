"""Failed TLS handshakes, in the server's own log.

gRPC reports those of its port only on standard error, in its own format: its core writes to the file descriptor and
bypasses Python's logging (https://github.com/grpc/grpc/issues/7077). While the server runs, a pipe takes the
descriptor's place, and every line that is not about a handshake passes through unchanged. Python's own output bypasses
the pipe.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

logger = logging.getLogger(__name__)

STANDARD_ERROR: Final = 2
LAST_LINES_SECONDS: Final = 1.0
"""The longest wait for the last lines; a child process may still have the pipe open."""

_FAILED: Final = re.compile(
    rb"^[A-Z]\d{4} .* Handshake failed with error \w+: (?:error:\w+:[\w ]+:\w+:)?(?P<reason>\w+)(?:: (?P<more>.*))?$"
)

_NOT_ACCEPTED: Final = "the client's certificate is not accepted by SESSIONS_TLS_CLIENT_CA"

_CAUSES: Final = {
    "the client does not speak TLS": ("HTTP_REQUEST", "WRONG_VERSION_NUMBER", "HTTPS_PROXY_REQUEST"),
    "the client gave no certificate, and SESSIONS_TLS_CLIENT_CA asks for one": (
        "PEER_DID_NOT_RETURN_A_CERTIFICATE",
    ),
    _NOT_ACCEPTED: ("BAD_SIGNATURE", "CERTIFICATE_VERIFY_FAILED"),
    "the client does not accept the certificate of SESSIONS_TLS_CERT": (
        "BAD_PACKET_LENGTH",  # BoringSSL reports an encrypted alert this way
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "TLSV1_ALERT_DECRYPT_ERROR",
        "TLSV1_ALERT_UNKNOWN_CA",
    ),
    "the client's version of TLS is not served": (
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "UNSUPPORTED_PROTOCOL",
        "VERSION_TOO_LOW",
    ),
}
_CAUSE_OF: Final = {reason: cause for cause, reasons in _CAUSES.items() for reason in reasons}


@contextmanager
def logged_handshakes() -> Iterator[None]:
    """Must enclose everything that logs, since it replaces `sys.stderr`."""
    ours = sys.stderr
    ours.flush()
    real = os.dup(STANDARD_ERROR)
    reading, writing = os.pipe()
    os.dup2(writing, STANDARD_ERROR)
    os.close(writing)
    sys.stderr = open(  # noqa: SIM115  # never closed, since log handlers may keep a reference
        os.dup(real), "w", buffering=1, encoding=ours.encoding, errors=ours.errors, closefd=False
    )
    relay = threading.Thread(target=_relay, args=(reading, real), name="gRPC's standard error", daemon=True)
    relay.start()
    try:
        yield
    finally:
        os.dup2(real, STANDARD_ERROR)
        relay.join(LAST_LINES_SECONDS)
        sys.stderr = ours


def _relay(reading: int, real: int) -> None:
    with os.fdopen(reading, "rb") as lines, os.fdopen(real, "wb", buffering=0) as rest:
        for line in lines:
            failed = _FAILED.match(line)
            if failed is None:
                rest.write(line)
            else:
                reason, more = failed["reason"].decode(), (failed["more"] or b"").decode(errors="replace")
                report(reason, more.strip())


def report(reason: str, more: str = "") -> None:
    """Logs a failed handshake, by the TLS library's name for the reason and its text about the certificate."""
    logger.warning("a TLS handshake failed: %s", _cause(reason, more))


def _cause(reason: str, more: str) -> str:
    """A sentence for operators. BoringSSL and OpenSSL mostly have the same names."""
    cause = _CAUSE_OF.get(reason, reason.lower().replace("_", " "))
    return f"{cause}: {more}" if cause == _NOT_ACCEPTED and more else cause
