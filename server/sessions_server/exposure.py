"""Whether these settings would expose the server to other machines without protection."""

from __future__ import annotations

import ipaddress

from sessions_server.domain.errors import SetupError
from sessions_server.rpc.sockets import UNIX
from sessions_server.settings import Settings


def check_exposure(settings: Settings) -> None:
    """Raises SetupError if the server would be reachable from other machines without TLS or without authentication."""
    guarded = settings.tls_cert is not None and (
        settings.tokens is not None or settings.tls_client_ca is not None
    )
    if settings.insecure:
        return
    if settings.metrics_listen and not _is_local(settings.metrics_listen):
        raise SetupError(
            f"The metrics at {settings.metrics_listen} can be read from other machines, by anyone; give a loopback "
            "address, or use --insecure."
        )
    if guarded:
        return
    for address in filter(None, (settings.listen, settings.http_listen)):
        if not _is_local(address):
            raise SetupError(
                f"{address} can be reached from other machines; give SESSIONS_TLS_CERT and SESSIONS_TLS_KEY, and "
                "SESSIONS_TOKENS or SESSIONS_TLS_CLIENT_CA, or use --insecure."
            )


def _is_local(address: str) -> bool:
    """Whether the address is reachable from this machine only."""
    if address.startswith(UNIX):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
