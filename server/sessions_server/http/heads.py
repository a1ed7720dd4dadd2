"""Checks of a request's head before anything else: its Host, origin, headers and content type."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qs

from sessions_server.domain.errors import DomainError, MalformedRequest, PermissionDenied, Unauthenticated
from sessions_server.domain.ports import Access

if TYPE_CHECKING:
    from starlette.types import Scope

    from sessions_server.rpc.calls import Method

UNARY_TYPES: Final = frozenset({"application/json", "application/proto"})
STREAM_TYPES: Final = frozenset({"application/connect+json", "application/connect+proto"})
GRPC_WEB_TYPES: Final = frozenset(
    {"application/grpc-web", "application/grpc-web+proto", "application/grpc-web+json"}
)
GRPC_TYPES: Final = frozenset({"application/grpc", "application/grpc+proto", "application/grpc+json"})
JSON_LINES: Final = "application/x-ndjson"
PLAIN_STREAM_TYPES: Final = frozenset({"application/json", JSON_LINES})
"""Streams without envelopes, for `curl`."""

_CONNECT_TIMEOUT: Final = re.compile(r"[0-9]{1,10}")
_GRPC_TIMEOUT: Final = re.compile(r"[0-9]{1,8}[HMSmun]")


class Rejection(NamedTuple):
    """Why a request is rejected."""

    status: int
    error: DomainError
    headers: Mapping[str, str] = {}


def decoded(scope: Scope) -> dict[str, str] | Rejection:
    """The headers by name; of repeated ones the last."""
    headers = {}
    for raw_name, raw_value in scope["headers"]:
        try:
            headers[raw_name.decode()] = raw_value.decode()
        except UnicodeDecodeError:
            if raw_name == b"authorization":
                return Rejection(
                    401, Unauthenticated("Send `authorization: Bearer TOKEN` with a valid token.")
                )
            return Rejection(400, MalformedRequest("A header is not UTF-8; send headers as ASCII."))
    return headers


class Sites:
    """The names this server is known by, and the other sites that may call it from a browser."""

    def __init__(self, hosts: Sequence[str], origins: Sequence[str]) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self.origins = tuple(origins)

    def judge(self, headers: Mapping[str, str]) -> Rejection | None:
        """Rejects pages of other sites, which reach this server under a foreign name (DNS rebinding) or from a foreign
        origin."""
        host = headers.get("host", "").lower()
        if not self._is_known(_name_of(host)):
            return Rejection(
                421,
                PermissionDenied(
                    "The server is not known by this Host; add the name to SESSIONS_HTTP_HOSTS."
                ),
            )
        if self._is_foreign(headers, host):
            return Rejection(
                403,
                PermissionDenied(
                    "Pages of this origin may not call the server; add it to SESSIONS_HTTP_ORIGINS."
                ),
            )
        return None

    def _is_known(self, name: str) -> bool:
        """IP addresses and localhost are safe: DNS rebinding needs a name that the attacker controls."""
        if name in self._hosts or name == "localhost" or "*" in self._hosts:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True

    def _is_foreign(self, headers: Mapping[str, str], host: str) -> bool:
        origin = headers.get("origin")
        if origin is None:
            is_link = headers.get("sec-fetch-mode") == "navigate"
            return headers.get("sec-fetch-site") == "cross-site" and not is_link
        # Compares host and port only: the schemes differ behind a proxy that terminates TLS.
        return origin.partition("://")[2].lower() != host and not self.allows(origin)

    def allows(self, origin: str) -> bool:
        return "*" in self.origins or origin in self.origins


def judge_call(method: Method, scope: Scope, headers: Mapping[str, str]) -> Rejection | None:
    """Checks that the head of a call is valid for its protocol."""
    kind = content_type(headers)
    verb = scope["method"]
    if verb == "GET":
        return _judge_get(method, scope)
    if verb != "POST":
        allowed = "GET, POST" if _may_be_got(method) else "POST"
        return Rejection(405, MalformedRequest("Call methods by POST, or reads by GET."), {"allow": allowed})
    if kind in GRPC_TYPES and scope["http_version"] != "2":
        return Rejection(
            505,
            MalformedRequest("gRPC needs HTTP/2: use the server's gRPC port, or gRPC-Web or Connect here."),
        )
    known = (UNARY_TYPES if method.unary else STREAM_TYPES | PLAIN_STREAM_TYPES) | GRPC_WEB_TYPES | GRPC_TYPES
    if kind not in known:
        accepted = ", ".join(sorted(known))
        return Rejection(
            415,
            MalformedRequest(f"The method does not take this content-type; send one of {accepted}."),
            {"accept-post": accepted},
        )
    return _judge_protocol(headers)


def _judge_get(method: Method, scope: Scope) -> Rejection | None:
    if not _may_be_got(method):
        return Rejection(405, MalformedRequest("Call this method by POST."), {"allow": "POST"})
    if parse_qs(scope["query_string"]).get(b"encoding", [b""])[0] not in (b"json", b"proto"):
        return Rejection(
            415,
            MalformedRequest("Send the request in the query, as `encoding=json&message=…`, or call by POST."),
        )
    return None


def _may_be_got(method: Method) -> bool:
    return method.unary and method.needed is Access.READ


def _judge_protocol(headers: Mapping[str, str]) -> Rejection | None:
    if headers.get("connect-protocol-version", "1") != "1":
        return Rejection(400, MalformedRequest("Send `connect-protocol-version: 1`, or leave it out."))
    timeout = headers.get("connect-timeout-ms", "1")
    if not _CONNECT_TIMEOUT.fullmatch(timeout):
        return Rejection(
            400, MalformedRequest("Send `connect-timeout-ms` as up to 10 digits, or leave it out.")
        )
    if not _GRPC_TIMEOUT.fullmatch(headers.get("grpc-timeout", "1S")):
        return Rejection(400, MalformedRequest("Send `grpc-timeout` as digits and a unit, or leave it out."))
    return None


def content_type(headers: Mapping[str, str]) -> str:
    """The media type of a request's body, in lower case and without parameters; empty if none is given."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _name_of(host: str) -> str:
    """A Host without the port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
