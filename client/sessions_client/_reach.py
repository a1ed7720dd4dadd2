"""Explains why a server cannot be reached, from gRPC's message and a probe of the address itself.

gRPC reports a missing client certificate, a plaintext server and a closed connection in the same words. So for a client
that never reached its server, the address is probed with Python's `ssl`, which reports the cause.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from typing import TYPE_CHECKING

from sessions_client._errors import Unavailable
from sessions_client._tls import TlsFiles, ssl_context

if TYPE_CHECKING:
    from sessions_client._errors import SessionsError
    from sessions_client._options import Target

_PROBE_SECONDS = 2.0
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
"""The variables that gRPC reads, in order."""

_NOTHING_LISTENS = re.compile(r"Connection refused|No such file or directory")
_SILENT = re.compile(r"timed out|Timeout occurred|No route to host|Network is unreachable")
_NO_ADDRESS = re.compile(r"errors resolving|not found|no address|resolution", re.IGNORECASE)


_CLIENT_CERTIFICATE = {
    False: "it asks for a client certificate. Give TLS(cert=…, key=…).",
    True: "it does not accept the client's certificate. Give a valid one that its client CA has signed.",
}
"""What it means if the server closes the connection because of the client's certificate; by whether there is one."""


def explained(error: SessionsError, target: Target) -> Unavailable:
    """The error for an unreachable server, with the address and what to do."""
    unreachable = Unavailable(_sentence(error.message, target.name) + _of_proxy(target))
    unreachable.request_id, unreachable.may_have_happened = error.request_id, error.may_have_happened
    return unreachable


def _sentence(text: str, name: str) -> str:
    if _NOTHING_LISTENS.search(text):
        return f"Nothing listens at {name}. Start the server, or check the address."
    if _SILENT.search(text):
        return f"No server answered at {name}. Check the address and the firewall, or give a longer connect_timeout=."
    if _NO_ADDRESS.search(text):
        return f"The host name in {name} has no address. Check the name."
    return text


def _of_proxy(target: Target) -> str:
    """The role of a proxy from the environment in the failure."""
    used = next((name for name in _PROXIES if os.environ.get(name)), None) if target.uses_proxy else None
    if used is None:
        return ""
    return f" The connection goes through the proxy that `{used}` names; set `no_proxy`, or give proxy=False."


def tls_fault(error: SessionsError, target: Target) -> Unavailable | None:
    """What is wrong between the client's TLS settings and an unreachable server, after probing each address; None if
    nothing is found. Blocks for a few seconds at most."""
    if _SILENT.search(error.message):
        return None
    for host, port in target.hosts:
        sentence = _fault_in_the_clear(host, port) if target.tls is None else _fault(target.tls, host, port)
        if sentence is not None:
            return Unavailable(f"The server at {target.name} cannot be reached: {sentence}")
    return None


def _fault_in_the_clear(host: str, port: int) -> str | None:
    """Whether the server speaks TLS while the client does not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with _connected(host, port) as plain, context.wrap_socket(plain, server_hostname=host):
            return "it speaks TLS. Give tls=True, or tls= with its CA."
    except OSError:
        return None


def _fault(tls: TlsFiles, host: str, port: int) -> str | None:
    context = ssl_context(tls)
    context.set_alpn_protocols(["h2"])
    try:
        plain = _connected(host, port)
    except OSError:
        return None
    try:
        with plain, context.wrap_socket(plain, server_hostname=tls.server_name or host) as secured:
            # In TLS 1.3 a server checks the client's certificate after the handshake. gRPC then closes the connection
            # without an alert; an accepting server sends something first.
            if not secured.recv(1):
                return _CLIENT_CERTIFICATE[tls.cert is not None]
    except ssl.SSLCertVerificationError as fault:
        return _of_certificate(fault, tls)
    except ssl.SSLError as fault:
        return _of_handshake(fault, has_certificate=tls.cert is not None)
    except OSError:
        return None
    return None


def _of_certificate(fault: ssl.SSLCertVerificationError, tls: TlsFiles) -> str:
    said = fault.verify_message
    if "expired" in said:
        return "its certificate has expired. Renew it at the server."
    if "not yet valid" in said:
        return "its certificate is not valid yet. Check the clocks, or use the certificate that is valid now."
    if "mismatch" in said.lower() or "not match" in said:
        return f"its certificate is for another name ({said}). Check the address, or give TLS(server_name=…)."
    if "local issuer" in said or "self-signed" in said or "self signed" in said or "signature" in said:
        whose = "no well-known authority" if tls.ca is None else "another authority than the one given"
        return (
            f"its certificate is signed by {whose}, or the server sends no intermediate certificate ({said}). "
            "Give the right CA with tls=, or the whole chain at the server."
        )
    return f"its certificate is not accepted ({said}). Check it at the server."


def _of_handshake(fault: ssl.SSLError, *, has_certificate: bool) -> str | None:
    reason = fault.reason or ""
    if "CERTIFICATE_REQUIRED" in reason or "EOF" in reason or "ALERT" in reason:
        return _CLIENT_CERTIFICATE[has_certificate]
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
        return "it does not speak TLS. Leave tls= out, or turn TLS on at the server."
    return f"the TLS handshake failed ({reason}). Check both sides' certificates."


def _connected(host: str, port: int) -> socket.socket:
    return socket.create_connection((host, port), timeout=_PROBE_SECONDS)
