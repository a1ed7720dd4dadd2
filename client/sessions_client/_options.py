"""How a channel is opened: addresses, TLS, channel options and the metadata of every call. Pure but for
reading the TLS files and looking up host names."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import grpc

from sessions_client._errors import refused

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]
PathOrPem: TypeAlias = str | os.PathLike[str] | bytes
TokenSource: TypeAlias = str | Callable[[], str]

_ROUND_ROBIN = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})

_OPTIONS: tuple[tuple[str, str | int], ...] = (
    # A page of history may be larger than gRPC's default of 4 MiB.
    ("grpc.max_receive_message_length", -1),
    # A server that restarts is back soon: look for it sooner than gRPC's default of 1 s growing to 120 s.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # Finds a connection that died without a word. Not more often than every second checkpoint, which resets
    # the server's count of pings without data, so that no server takes it for abuse.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TLS:
    """TLS with files (or PEM bytes) of one's own; `TLS()` is the same as `tls=True`."""

    ca: PathOrPem | None = None
    """Who may sign the server's certificate; None: the well-known authorities."""
    cert: PathOrPem | None = None
    """The client's certificate, for a server that asks for one; needs `key`."""
    key: PathOrPem | None = field(default=None, repr=False)
    server_name: str | None = None
    """The name in the server's certificate, when it is not the address that is called."""


@dataclass(frozen=True, slots=True)
class Target:
    """Everything that opening a channel takes."""

    address: str
    options: tuple[tuple[str, str | int], ...]
    credentials: grpc.ChannelCredentials | None


def target_of(addresses: str | Sequence[str], tls: bool | PathOrPem | TLS) -> Target:
    """Reads the constructor's `target` and `tls`. Raises InvalidArgument for an address that names no
    port."""
    several = [addresses] if isinstance(addresses, str) else list(addresses)
    if not several or not all(several):
        raise refused("target", "must be an address such as `127.0.0.1:50051`, or several in a list.")
    address = several[0] if len(several) == 1 else _list_target(several)
    options = _OPTIONS
    if len(several) > 1 or address.startswith("dns:"):
        options += (("grpc.service_config", _ROUND_ROBIN),)
    settings = _tls_settings(tls)
    if settings is None:
        return Target(address, options, None)
    if settings.server_name:
        options += (("grpc.ssl_target_name_override", settings.server_name),)
    return Target(address, options, _credentials(settings))


def call_metadata(
    token: TokenSource | None, metadata: Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]] | None
) -> Callable[[], Metadata]:
    """What answers the metadata of the next call. Raises InvalidArgument for two credentials or a bad key."""
    pairs = tuple(metadata.items() if isinstance(metadata, Mapping) else metadata or ())
    for key, value in pairs:
        _check_pair(key, value)
    if token is None:
        return lambda: pairs
    if any(key == "authorization" for key, _ in pairs):
        raise refused("metadata", "must not carry `authorization` beside token=; give one of the two.")
    if isinstance(token, str):
        fixed = (*pairs, _bearer(token))
        return lambda: fixed
    return lambda: (*pairs, _bearer(token()))


def _bearer(token: str) -> tuple[str, str]:
    # Said here, because gRPC's own refusal would show the token.
    if not (token.isascii() and token.isprintable() and token):
        raise refused("token", "must be printable ASCII text.")
    return "authorization", f"Bearer {token}"


def _check_pair(key: str, value: str | bytes) -> None:
    if key != key.lower():
        raise refused("metadata", f"keys are lower case; write `{key.lower()}`.")
    if key.endswith("-bin") != isinstance(value, bytes):
        raise refused(
            "metadata", f"`{key}` is text or bytes as its name says: bytes only under a key in `-bin`."
        )
    if isinstance(value, str) and not (value.isascii() and value.isprintable()):
        raise refused(
            "metadata", f"the value of `{key}` must be printable ASCII text; bytes go under `{key}-bin`."
        )


def _list_target(addresses: Sequence[str]) -> str:
    """gRPC's form for a list of IP addresses; host names are looked up once, here."""
    resolved = [_resolve(one) for one in addresses]
    if all(isinstance(ip, ipaddress.IPv4Address) for ip, _ in resolved):
        return "ipv4:" + ",".join(f"{ip}:{port}" for ip, port in resolved)
    return "ipv6:" + ",".join(f"[{_mapped(ip)}]:{port}" for ip, port in resolved)


def _mapped(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return f"::ffff:{ip}" if isinstance(ip, ipaddress.IPv4Address) else str(ip)


def _resolve(address: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise refused(
            "target", "one of several addresses must be a host and a port, such as `10.0.0.1:50051`."
        )
    host = host.strip("[]")
    try:
        return ipaddress.ip_address(host), int(port)
    except ValueError:
        return ipaddress.ip_address(_look_up(host)), int(port)


def _look_up(host: str) -> str:
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise refused("target", f"the host name `{host}` has no address; check it.") from exc
    families = {family: str(where[0]) for family, _, _, _, where in reversed(answers)}
    return families.get(socket.AF_INET) or next(iter(families.values()))


def _tls_settings(tls: bool | PathOrPem | TLS) -> TLS | None:
    if isinstance(tls, bool):
        return TLS() if tls else None
    return tls if isinstance(tls, TLS) else TLS(ca=tls)


def _credentials(tls: TLS) -> grpc.ChannelCredentials:
    if (tls.cert is None) != (tls.key is None):
        raise refused("tls", "`cert` and `key` belong together; give both or neither.")
    return grpc.ssl_channel_credentials(_pem(tls.ca), _pem(tls.key), _pem(tls.cert))


def _pem(source: PathOrPem | None) -> bytes | None:
    return source if source is None or isinstance(source, bytes) else Path(source).read_bytes()
