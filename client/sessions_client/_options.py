"""How a channel is opened: addresses, channel options and the metadata of every call. Pure except for name resolution.

Invalid options are refused here with a sentence: gRPC would accept most of them and never connect.
"""

from __future__ import annotations

import inspect
import ipaddress
import json
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from sessions_client._errors import refused
from sessions_client._tls import TLS, PathOrPem, TlsFiles, tls_files

if TYPE_CHECKING:
    import os

ChannelOptions: TypeAlias = tuple[tuple[str, str | int], ...]
Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]
_Pairs: TypeAlias = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]
MetadataInput: TypeAlias = _Pairs | Callable[[], _Pairs]
TokenSource: TypeAlias = str | Callable[[], str]

CONNECT_SECONDS: Final = 3.0
"""How long a client waits by default for the first response of any server."""

_SPREAD = ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]}))
"""Spreads calls over all addresses."""
_PICK_FIRST = json.dumps({"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": True}}]})

_SCHEMES = ("dns", "unix", "unix-abstract", "vsock", "ipv4", "ipv6", "xds")
"""Target prefixes that gRPC interprets itself: https://grpc.github.io/grpc/core/md_doc_naming.html"""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_HOST_AND_PORT = re.compile(r"(\[[^\s\[\]]+\]|[^\s:/,@\[\]]+):([0-9]{1,5})")
_METADATA_KEY = re.compile(r"[0-9a-z_.-]+")

_OPTIONS: ChannelOptions = (
    # An older server may send responses above gRPC's default limit of 4 MiB.
    ("grpc.max_receive_message_length", -1),
    # Reconnects to a restarted server sooner than gRPC's default backoff of 1 to 120 seconds.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # Detects dead connections. At most one ping per two checkpoints, which reset the server's count of pings without
    # data, so that no server treats the pings as abuse.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # How long a ping may really take: keepalive's own limit does not end a connection before this one.
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
)


@dataclass(frozen=True, slots=True)
class Target:
    """Everything needed to open a channel."""

    name: str
    """As given by the caller, for errors."""
    address: str
    options: ChannelOptions
    tls: TlsFiles | None
    hosts: tuple[tuple[str, int], ...]
    """The hosts and ports of the address, as far as it contains them."""
    uses_proxy: bool
    """Whether gRPC uses a proxy from the environment."""
    local: str | None = None
    """The path of an embedded server's socket for unary calls, which take it instead of gRPC."""

    @property
    def stream_options(self) -> ChannelOptions:
        """Options for a channel of streams. By default gRPC shares one connection between channels with equal options,
        where streams beyond a proxy's limit would block every other call."""
        return (*self.options, ("grpc.use_local_subchannel_pool", 1))

    @property
    def pinned_options(self) -> ChannelOptions | None:
        """Options for a channel whose calls must all go to one server, as long as it is up. None if that is true of
        every channel."""
        if _SPREAD not in self.options:
            return None
        others = tuple(option for option in self.stream_options if option != _SPREAD)
        return (*others, ("grpc.service_config", _PICK_FIRST))


def target_of(
    addresses: str | Iterable[str] | os.PathLike[str],
    tls: bool | PathOrPem | TLS,
    *,
    connect_seconds: float = CONNECT_SECONDS,
    proxy: bool | None = None,
    local: str | None = None,
) -> Target:
    """Interprets the constructor's `target`, `tls` and `proxy`. `local` is as in `Target`. Raises InvalidArgument if
    they cannot work."""
    if local is not None and tls:
        raise refused("tls", "is for servers; leave it out for a database file or `:memory:`.")
    several = _addresses(addresses)
    address = several[0] if len(several) == 1 else _list_target(several)
    hosts = tuple(_host_and_port(one) for one in several if not _is_grpcs_own(one))
    files = tls_files(tls)
    options = (*_OPTIONS, ("grpc.min_reconnect_backoff_ms", max(1, int(connect_seconds * 1000))))
    if len(several) > 1 or address.startswith("dns:"):
        options += (_SPREAD,)
    server_name = files and (files.server_name or (_common_host(several) if len(several) > 1 else None))
    if server_name:
        options += (("grpc.ssl_target_name_override", server_name),)
    uses_proxy = _may_use_proxy(several) if proxy is None else _flag(proxy)
    if not uses_proxy:
        options += (("grpc.enable_http_proxy", 0),)
    return Target(", ".join(several), address, options, files, hosts, uses_proxy, local)


def _may_use_proxy(addresses: list[str]) -> bool:
    """Whether a proxy from the environment makes sense. gRPC would use it for the loopback too, and for every list of
    addresses, even if `no_proxy` contains all its hosts."""
    if len(addresses) > 1 or addresses[0].startswith(("unix:", "unix-abstract:", "vsock:", "ipv4:", "ipv6:")):
        return False
    host = addresses[0].removeprefix("dns:").lstrip("/").rpartition(":")[0].strip("[]")
    return host != "localhost" and not host.startswith("127.") and host != "::1"


def _flag(proxy: object) -> bool:
    if not isinstance(proxy, bool):
        raise refused("proxy", "must be True, False or None.")
    return proxy


def _addresses(given: object) -> list[str]:
    if isinstance(given, (bytes, Mapping)) or not isinstance(given, Iterable):
        raise refused("target", f"must be an address or a list of addresses, not {type(given).__name__}.")
    several = [given] if isinstance(given, str) else list(given)
    if not several or not all(isinstance(one, str) and one.strip() for one in several):
        raise refused("target", "must be an address such as `127.0.0.1:50051`, or several in a list.")
    several = [one.strip() for one in several]
    if len(several) > 1 or not _is_grpcs_own(several[0]):
        for one in several:
            _host_and_port(one)
    return several


def _is_grpcs_own(address: str) -> bool:
    """Whether the target starts with a scheme of gRPC. Raises InvalidArgument for a web URL."""
    scheme = _SCHEME.match(address)
    if scheme is None:
        return False
    if scheme[1].lower() not in _SCHEMES and address.startswith("//", scheme.end()):
        raise refused(
            "target",
            f"cannot begin with `{scheme[1]}://`; write host and port alone, such as `127.0.0.1:50051`, "
            "and say `tls=True` for TLS. For a database file, write its path.",
        )
    return scheme[1].lower() in _SCHEMES


def _host_and_port(address: str) -> tuple[str, int]:
    parts = _HOST_AND_PORT.fullmatch(address)
    if parts is None:
        raise refused(
            "target", f"`{address}` must be a host and a port, such as `10.0.0.1:50051` or `[::1]:50051`."
        )
    host, port = parts[1].strip("[]"), int(parts[2])
    if not 0 < port < 2**16:
        raise refused("target", f"the port of `{address}` must be from 1 to 65535.")
    return host, port


def call_metadata(token: TokenSource | None, metadata: MetadataInput | None) -> Callable[[], Metadata]:
    """A function that returns the metadata of the next call. Raises InvalidArgument for two credentials, or for values
    that gRPC cannot send."""
    if callable(metadata):
        ask = metadata
        return lambda: _with_token(_pairs(ask()), token)
    pairs = _pairs(metadata)
    if callable(token):
        _refuse_two_credentials(pairs)
        return lambda: _with_token(pairs, token)
    fixed = _with_token(pairs, token)
    return lambda: fixed


def _with_token(pairs: Metadata, token: TokenSource | None) -> Metadata:
    if token is None:
        return pairs
    _refuse_two_credentials(pairs)
    return (*pairs, _bearer(token() if callable(token) else token))


def _refuse_two_credentials(pairs: Metadata) -> None:
    if any(key == "authorization" for key, _ in pairs):
        raise refused("metadata", "must not carry `authorization` beside token=; give one of the two.")


def _bearer(token: object) -> tuple[str, str]:
    if inspect.iscoroutine(token):
        token.close()
        raise refused("token", "must be a plain function, not an `async def`; it is asked with each call.")
    if not isinstance(token, str):
        raise refused(
            "token", f"must be a string, or a function that returns one, not {type(token).__name__}."
        )
    # Checked here, because gRPC's own error would reveal the token.
    if not (token.isascii() and token.isprintable() and token):
        raise refused("token", "must be printable ASCII text.")
    return "authorization", f"Bearer {token}"


def _pairs(metadata: object) -> Metadata:
    given = metadata.items() if isinstance(metadata, Mapping) else () if metadata is None else metadata
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise refused("metadata", "must be a dict, or a list of pairs of a key and a value.")
    return tuple(_pair(one) for one in given)


def _pair(pair: object) -> tuple[str, str | bytes]:
    match pair:
        case (str() as key, (str() | bytes()) as value):
            _check_pair(key, value)
            return key, value
        case (str() as key, value):
            raise refused("metadata", f"the value of `{key}` must be text, not {type(value).__name__}.")
        case _:
            raise refused("metadata", "must be a dict, or a list of pairs of a key and a value.")


def _check_pair(key: str, value: str | bytes) -> None:
    if key != key.lower():
        raise refused("metadata", f"keys are lower case; write `{key.lower()}`.")
    if not _METADATA_KEY.fullmatch(key):
        raise refused("metadata", f"the key {key!r} must consist of the characters `a-z 0-9 _ . -`.")
    if key.startswith("grpc-"):
        raise refused("metadata", f"the key `{key}` belongs to gRPC; choose one without `grpc-`.")
    if key.endswith("-bin") != isinstance(value, bytes):
        raise refused(
            "metadata", f"`{key}` is text or bytes as its name says: bytes only under a key in `-bin`."
        )
    if isinstance(value, str) and not (value.isascii() and value.isprintable()):
        raise refused(
            "metadata", f"the value of `{key}` must be printable ASCII text; bytes go under `{key}-bin`."
        )


def _list_target(addresses: Iterable[str]) -> str:
    """gRPC's form of a list of IP addresses; host names are resolved once, here."""
    resolved = [_resolve(one) for one in addresses]
    if all(isinstance(ip, ipaddress.IPv4Address) for ip, _ in resolved):
        return "ipv4:" + ",".join(f"{ip}:{port}" for ip, port in resolved)
    return "ipv6:" + ",".join(f"[{_mapped(ip)}]:{port}" for ip, port in resolved)


def _common_host(addresses: Iterable[str]) -> str:
    """The name that all servers of a list must have certificates for. gRPC checks the same name for all of them, and
    would use the list itself as that name."""
    hosts = {_host_and_port(one)[0] for one in addresses}
    if len(hosts) > 1:
        raise refused(
            "tls",
            "the servers of a list must share one name; give it as `TLS(server_name=…)`, or call them by one "
            "`dns:///` name that has all their addresses.",
        )
    return hosts.pop()


def _mapped(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return f"::ffff:{ip}" if isinstance(ip, ipaddress.IPv4Address) else str(ip)


def _resolve(address: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    host, port = _host_and_port(address)
    try:
        return ipaddress.ip_address(host), port
    except ValueError:
        return ipaddress.ip_address(_look_up(host)), port


def _look_up(host: str) -> str:
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise refused("target", f"the host name `{host}` has no address; check it.") from exc
    families = {family: str(where[0]) for family, _, _, _, where in reversed(answers)}
    return families.get(socket.AF_INET) or next(iter(families.values()))
