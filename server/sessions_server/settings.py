"""All settings of the server with defaults and units, read from the environment and from flags of the same names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sessions_server.domain.limits import Limits
from sessions_server.domain.models import Micros
from sessions_server.domain.sizes import GROWTH

PREFIX: Final = "SESSIONS_"
"""The prefix of all environment variables."""

_LIMITS: Final = Limits()
_LONGEST_SECONDS: Final = 10 * 365 * 24 * 3600
_LARGEST_PORT: Final = 65_535

UNIX: Final = "unix:"
"""The prefix of a Unix socket's address."""

_OF_A_SERVICE: Final = re.compile(r"SERVICE_(HOST|PORT(_.*)?)|PORT_\d+_(TCP|UDP)(_.*)?")
"""Variables that Kubernetes sets in every container for a Service named `sessions`, without the prefix; and `PORT`."""


def _from_seconds(value: object) -> object:
    """A number of seconds, as operators write durations."""
    if not isinstance(value, str):
        return value
    try:
        seconds = float(value)
    except ValueError:
        seconds = float("nan")
    if not abs(seconds) <= _LONGEST_SECONDS:
        raise ValueError("it must be a number of seconds without a unit, such as 0.5, and at most ten years")
    return seconds


def _at_least(seconds: float) -> AfterValidator:
    def check(span: timedelta) -> timedelta:
        if span < timedelta(seconds=seconds):
            raise ValueError(f"it must be at least {seconds:g} seconds")
        return span

    return AfterValidator(check)


def _with_port(address: str) -> str:
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isascii() and port.isdecimal() and int(port) <= _LARGEST_PORT):
        raise ValueError(
            f"it must be a host and a port from 0 to {_LARGEST_PORT}, such as 127.0.0.1:50051 or [::1]:50051"
        )
    return address


def _to_listen(address: str) -> str:
    if address.startswith(UNIX):
        if not address.removeprefix(UNIX):
            raise ValueError("it must have the path of a socket, such as unix:/run/sessions/server.sock")
        return address
    return _with_port(address)


def _with_port_if_any(address: str) -> str:
    return _with_port(address) if address else address


Seconds = Annotated[timedelta, BeforeValidator(_from_seconds)]
Address = Annotated[str, AfterValidator(_to_listen)]


class LogFormat(StrEnum):
    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, ser_json_timedelta="float"
    )

    listen: Address = Field(
        default="127.0.0.1:50051",
        description="Address and port to serve on; port 0 picks a free one. Or `unix:PATH`, a socket that only the "
        "server's own user can open.",
    )
    http_listen: Annotated[str, AfterValidator(_with_port_if_any)] = Field(
        default="",
        description="Address and port of HTTP: Connect, gRPC-Web, JSON, events and the console, such as "
        "`127.0.0.1:8080`; needs the extra `http`.",
    )
    http_hosts: str = Field(
        default="",
        description="Host names that HTTP requests may use, separated by commas; addresses and `localhost` "
        "are always allowed.",
    )
    http_origins: str = Field(
        default="",
        description="Origins of other sites whose pages may call over HTTP, such as `https://app.example`, separated "
        "by commas.",
    )
    database_url: str = Field(
        default="sqlite+aiosqlite:///sessions.db",
        description="Where sessions are kept: `sqlite+aiosqlite:///FILE`, relative to the working directory, or "
        "`postgresql+asyncpg://USER@HOST/NAME`.",
    )
    keyring: Path | None = Field(
        default=None,
        description="Keyring file for encrypted sessions, made by `sessions-server keyring new FILE`.",
    )
    tokens: Path | None = Field(
        default=None,
        description="File of the bearer tokens that callers may use; without it every caller is the tenant `default`.",
    )
    tls_cert: Path | None = Field(default=None, description="Certificate chain of the server, PEM.")
    tls_key: Path | None = Field(default=None, description="Private key of the certificate, PEM.")
    tls_client_ca: Path | None = Field(
        default=None,
        description="Authority whose client certificates are required, PEM.",
    )
    insecure: bool = Field(
        default=False,
        description="Allow listening beyond loopback without TLS or without authentication, and for metrics.",
    )
    metrics_listen: Annotated[str, AfterValidator(_with_port_if_any)] = Field(
        default="",
        description="Address and port of the Prometheus metrics, such as `127.0.0.1:9464`.",
    )
    log_format: LogFormat = Field(
        default=LogFormat.CONSOLE, description="`console` for people, `json` for programs."
    )
    log_level: LogLevel = Field(default=LogLevel.INFO, description="The lowest level that is logged.")
    drain_grace: Annotated[Seconds, _at_least(0)] = Field(
        default=timedelta(seconds=10),
        description="How long calls in flight may take after SIGTERM, in seconds.",
    )
    events_kept: Annotated[Seconds, _at_least(0)] = Field(
        default=timedelta(days=7),
        description="How long events other than the history's messages are kept for resuming, in seconds.",
    )
    sweep_interval: Annotated[Seconds, _at_least(0.01)] = Field(
        default=timedelta(seconds=1),
        description="How often expiries are recorded, in seconds; callers see an expiry at its exact time in any case.",
    )
    checkpoint_interval: Seconds = Field(
        default=timedelta(seconds=30),
        description="How long a subscription is quiet before the server sends a checkpoint, in seconds; 30 at most.",
        le=timedelta(seconds=30),
        gt=timedelta(0),
    )
    max_streams: int = Field(default=20_000, ge=1, description="Open subscriptions and pipelines in all.")
    max_streams_per_caller: int = Field(
        default=10_000, ge=1, description="Open subscriptions and pipelines per credential."
    )
    max_transfers: int = Field(
        default=64,
        ge=1,
        description="Concurrent imports and exports in all; each takes a few megabytes of memory.",
    )
    max_transfers_per_caller: int = Field(
        default=32, ge=1, description="Concurrent imports and exports per credential."
    )
    transfer_idle: Annotated[Seconds, _at_least(0.01)] = Field(
        default=timedelta(seconds=60),
        description="How long an import or export may be idle before the server ends it, in seconds.",
    )
    max_import_bytes: int = Field(
        default=1024**3, ge=1, description="Bytes of one import, which are kept on disk until it is complete."
    )
    max_bytes_in_flight: int = Field(
        default=128 * 1024**2,
        ge=4 * 1024**2,
        description="Bytes of requests above 64 KiB that are handled at the same time; one credential may have half "
        "of them. Each takes several times its size in memory.",
    )
    max_draft_bytes: int = Field(
        default=64 * 1024**2,
        ge=1024**2,
        description="Bytes of drafts that this process holds in memory, in all.",
    )
    max_content_bytes: int = Field(
        default=_LIMITS.content_bytes, ge=1, description="Bytes of text in one message."
    )
    max_data_bytes: int = Field(
        default=_LIMITS.data_bytes, ge=2, description="Bytes of JSON in the data of one message."
    )
    max_metadata_bytes: int = Field(
        default=_LIMITS.metadata_bytes,
        ge=2,
        description="Bytes of JSON in metadata, of a session or a message.",
    )
    max_metadata_keys: int = Field(
        default=_LIMITS.metadata_keys, ge=0, description="Keys in metadata, nested ones counted."
    )
    max_context_bytes: int = Field(
        default=_LIMITS.context_bytes,
        ge=2,
        le=_LIMITS.wire_bytes,
        description="Bytes of JSON in a context; one also takes at most 3.5 MiB as a Struct.",
    )
    max_page_size: int = Field(
        default=_LIMITS.page_size,
        ge=1,
        description="Sessions, messages or records on a page; a request for more gets this many.",
    )
    scrub_pages: bool = Field(
        default=True,
        description="On SQLite, clear the unused parts of the file's pages, which may hold copies of erased content. "
        "Off automatically on a version of SQLite that this server does not know.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Server processes behind one address, each of which is a replica; more than one needs PostgreSQL "
        "and Linux.",
    )
    wakeups: str = Field(
        default="",
        description="How replicas wake each other's subscribers: empty for PostgreSQL's own LISTEN and NOTIFY, or "
        "`nats://HOST:4222`.",
    )
    poll_interval: Seconds = Field(
        default=timedelta(milliseconds=500),
        gt=timedelta(0),
        description="On PostgreSQL, after how long a subscriber learns of an event whose wake-up was lost, in seconds.",
    )
    pool_size: int = Field(
        default=8,
        ge=6,
        description="Connections in one replica's pool to PostgreSQL, at least 6; a replica opens up to five more.",
    )
    allow_unsafe_durability: bool = Field(
        default=False,
        description="Start on a PostgreSQL whose `fsync` or `full_page_writes` is off, and leave `synchronous_commit` "
        "as it is. Acknowledged writes may then be lost.",
    )

    @property
    def limits(self) -> Limits:
        """The request limits."""
        return Limits(
            content_bytes=self.max_content_bytes,
            data_bytes=self.max_data_bytes,
            metadata_bytes=self.max_metadata_bytes,
            metadata_keys=self.max_metadata_keys,
            context_bytes=self.max_context_bytes,
            page_size=self.max_page_size,
            events_kept=Micros(self.events_kept // timedelta(microseconds=1)),
        )

    @model_validator(mode="after")
    def _check_that_a_message_fits(self) -> Self:
        most = self.max_content_bytes + GROWTH * (self.max_data_bytes + self.max_metadata_bytes)
        if most > _LIMITS.wire_bytes:
            raise ValueError(
                f"SESSIONS_MAX_CONTENT_BYTES and {GROWTH} times both SESSIONS_MAX_DATA_BYTES and "
                f"SESSIONS_MAX_METADATA_BYTES are {most} bytes, more than the {_LIMITS.wire_bytes} of a message in an "
                "answer; lower one of them"
            )
        return self


def unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each variable that looks like a setting but is not one; never includes its value."""
    known = [name.upper() for name in Settings.model_fields]
    for name, value in environment.items():
        rest = name.upper().removeprefix(PREFIX)
        if rest == name.upper() or rest in known or _is_of_a_service(rest, value):
            continue
        close = difflib.get_close_matches(rest, known, n=1)
        yield f"{name} is not a setting of this server and has no effect" + (
            f"; did you mean {PREFIX}{close[0]}?" if close else "; `sessions-server serve --help` lists them."
        )


def _is_of_a_service(rest: str, value: str) -> bool:
    return _OF_A_SERVICE.fullmatch(rest) is not None or (rest == "PORT" and "://" in value)
