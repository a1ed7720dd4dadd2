"""All settings of the server with defaults and units, read from the environment and from flags of the same names.

A dataclass is enough for that: the packages that read settings take as long to import as the rest of the command line.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from sessions_server.domain.errors import SetupError
from sessions_server.domain.limits import Limits
from sessions_server.domain.models import Micros
from sessions_server.domain.sizes import GROWTH
from sessions_server.setting_values import (
    Setting,
    one_of,
    setting,
    to_address,
    to_flag,
    to_listen,
    to_seconds,
    to_whole,
    write,
)

PREFIX: Final = "SESSIONS_"
"""The prefix of all environment variables."""

_LIMITS: Final = Limits()

_OF_A_SERVICE: Final = re.compile(r"SERVICE_(HOST|PORT(_.*)?)|PORT_\d+_(TCP|UDP)(_.*)?")
"""Variables that Kubernetes sets in every container for a Service named `sessions`, without the prefix; and `PORT`."""


class LogFormat(StrEnum):
    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings, checked together: raises ValueError if they do not fit each other. `read_settings` also checks
    each."""

    listen: str = setting(
        to_listen,
        default="127.0.0.1:50051",
        description="Address and port to serve on; port 0 picks a free one. Or `unix:PATH`, a socket that only the "
        "server's own user can open.",
    )
    http_listen: str = setting(
        to_address,
        default="",
        description="Address and port of HTTP: Connect, gRPC-Web, JSON, events and the console, such as "
        "`127.0.0.1:8080`; needs the extra `http`.",
    )
    http_hosts: str = setting(
        str,
        default="",
        description="Host names that HTTP requests may use, separated by commas; addresses and `localhost` "
        "are always allowed.",
    )
    http_origins: str = setting(
        str,
        default="",
        description="Origins of other sites whose pages may call over HTTP, such as `https://app.example`, separated "
        "by commas.",
    )
    database_url: str = setting(
        str,
        default="sqlite+aiosqlite:///sessions.db",
        description="Where sessions are kept: `sqlite+aiosqlite:///FILE`, relative to the working directory, or "
        "`postgresql+asyncpg://USER@HOST/NAME`.",
    )
    keyring: Path | None = setting(
        Path,
        default=None,
        description="Keyring file for encrypted sessions, made by `sessions-server keyring new FILE`.",
    )
    tokens: Path | None = setting(
        Path,
        default=None,
        description="File of the bearer tokens that callers may use; without it the tenant is `default`.",
    )
    tls_cert: Path | None = setting(Path, default=None, description="Certificate chain of the server, PEM.")
    tls_key: Path | None = setting(Path, default=None, description="Private key of the certificate, PEM.")
    tls_client_ca: Path | None = setting(
        Path, default=None, description="Authority whose client certificates are required, PEM."
    )
    insecure: bool = setting(
        to_flag,
        default=False,
        description="Allow listening beyond loopback without TLS or authentication; the metrics too.",
    )
    metrics_listen: str = setting(
        to_address,
        default="",
        description="Address and port of the Prometheus metrics, such as `127.0.0.1:9464`.",
    )
    log_format: LogFormat = setting(
        one_of(LogFormat), default=LogFormat.CONSOLE, description="`console` for people, `json` for programs."
    )
    log_level: LogLevel = setting(
        one_of(LogLevel), default=LogLevel.INFO, description="The lowest level that is logged."
    )
    drain_grace: timedelta = setting(
        to_seconds(),
        default=timedelta(seconds=10),
        description="How long calls in flight may take after SIGTERM, in seconds.",
    )
    events_kept: timedelta = setting(
        to_seconds(),
        default=timedelta(days=7),
        description="How long events other than the history's messages are kept for resuming, in seconds.",
    )
    sweep_interval: timedelta = setting(
        to_seconds(least=0.01),
        default=timedelta(seconds=1),
        description="How often expiries are recorded, in seconds; callers see an expiry at its exact time in any case.",
    )
    checkpoint_interval: timedelta = setting(
        to_seconds(most=30, positive=True),
        default=timedelta(seconds=30),
        description="How long a subscription is quiet before the server sends a checkpoint, in seconds; 30 at most.",
    )
    max_streams: int = setting(
        to_whole(1), default=20_000, description="Open subscriptions and pipelines in all."
    )
    max_streams_per_caller: int = setting(
        to_whole(1), default=10_000, description="Open subscriptions and pipelines per credential."
    )
    max_transfers: int = setting(
        to_whole(1),
        default=64,
        description="Concurrent imports and exports in all; each takes a few megabytes of memory.",
    )
    max_transfers_per_caller: int = setting(
        to_whole(1), default=32, description="Concurrent imports and exports per credential."
    )
    transfer_idle: timedelta = setting(
        to_seconds(least=0.01),
        default=timedelta(seconds=60),
        description="How long an import or export may be idle before the server ends it, in seconds.",
    )
    max_import_bytes: int = setting(
        to_whole(1),
        default=1024**3,
        description="Bytes of one import, which are kept on disk until it is complete.",
    )
    max_bytes_in_flight: int = setting(
        to_whole(4 * 1024**2),
        default=128 * 1024**2,
        description="Bytes of requests above 64 KiB that are handled at the same time; one credential may have half "
        "of them. Each takes several times its size in memory.",
    )
    max_draft_bytes: int = setting(
        to_whole(1024**2),
        default=64 * 1024**2,
        description="Bytes of drafts that this process holds in memory, in all.",
    )
    max_content_bytes: int = setting(
        to_whole(1), default=_LIMITS.content_bytes, description="Bytes of text in one message."
    )
    max_data_bytes: int = setting(
        to_whole(2), default=_LIMITS.data_bytes, description="Bytes of JSON in the data of one message."
    )
    max_metadata_bytes: int = setting(
        to_whole(2),
        default=_LIMITS.metadata_bytes,
        description="Bytes of JSON in metadata, of a session or a message.",
    )
    max_metadata_keys: int = setting(
        to_whole(0), default=_LIMITS.metadata_keys, description="Keys in metadata, nested ones counted."
    )
    max_context_bytes: int = setting(
        to_whole(2, _LIMITS.wire_bytes),
        default=_LIMITS.context_bytes,
        description="Bytes of JSON in a context; one also takes at most 3.5 MiB as a Struct.",
    )
    max_page_size: int = setting(
        to_whole(1),
        default=_LIMITS.page_size,
        description="Sessions, messages or records on a page; a request for more gets this many.",
    )
    scrub_pages: bool = setting(
        to_flag,
        default=True,
        description="On SQLite, clear the unused parts of the file's pages, which may hold copies of erased content. "
        "Off automatically on a version of SQLite that this server does not know.",
    )
    workers: int = setting(
        to_whole(1, 256),
        default=1,
        description="Server processes behind one address, each of which is a replica; more than one needs PostgreSQL "
        "and Linux.",
    )
    wakeups: str = setting(
        str,
        default="",
        description="How replicas wake each other's subscribers: empty for PostgreSQL's own LISTEN and NOTIFY, or "
        "`nats://HOST:4222`.",
    )
    poll_interval: timedelta = setting(
        to_seconds(positive=True),
        default=timedelta(milliseconds=500),
        description="On PostgreSQL, after how long a subscriber learns of an event whose wake-up was lost, in seconds.",
    )
    pool_size: int = setting(
        to_whole(6),
        default=8,
        description="Connections in one replica's pool to PostgreSQL, at least 6; a replica opens up to five more.",
    )
    allow_unsafe_durability: bool = setting(
        to_flag,
        default=False,
        description="Start on a PostgreSQL whose `fsync` or `full_page_writes` is off, and leave `synchronous_commit` "
        "as it is. Acknowledged writes may then be lost.",
    )
    given: frozenset[str] = field(default=frozenset(), compare=False)
    """The names of the settings that were given, rather than left at their defaults."""

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

    def __post_init__(self) -> None:
        most = self.max_content_bytes + GROWTH * (self.max_data_bytes + self.max_metadata_bytes)
        if most > _LIMITS.wire_bytes:
            raise ValueError(
                f"SESSIONS_MAX_CONTENT_BYTES and {GROWTH} times both SESSIONS_MAX_DATA_BYTES and "
                f"SESSIONS_MAX_METADATA_BYTES are {most} bytes, more than the {_LIMITS.wire_bytes} of a message in an "
                "answer; lower one of them"
            )


SETTINGS: Final[dict[str, Setting]] = {
    each.name: each.metadata["setting"] for each in fields(Settings) if "setting" in each.metadata
}
"""All settings by name, in order."""


def read_settings(**given: str | bool | None) -> Settings:
    """The settings: given here, else in the environment, else their defaults. None stands for one that is not given.
    An empty variable is not given either. Raises SetupError with a sentence for each that cannot be used."""
    environment = {name.upper(): value for name, value in os.environ.items() if value}
    texts = {name: environment.get(f"{PREFIX}{name.upper()}") for name in SETTINGS} | {
        name: value for name, value in given.items() if value is not None
    }
    return _read({name: value for name, value in texts.items() if value is not None})


def from_json(line: bytes) -> Settings:
    """The settings that another process has written with `to_json`."""
    return _read(json.loads(line))


def to_json(settings: Settings) -> bytes:
    """One line, for another process on this machine; it may contain secrets."""
    values = {name: getattr(settings, name) for name in SETTINGS}
    return json.dumps({name: write(value) for name, value in values.items() if value is not None}).encode()


def _read(texts: Mapping[str, str | bool]) -> Settings:
    values: dict[str, Any] = {}
    problems = []
    for name, text in texts.items():
        try:
            values[name] = text if isinstance(text, bool) else SETTINGS[name].read(text)
        except ValueError as error:
            problems.append(f"{flag_of(name)} ({PREFIX}{name.upper()}) cannot be used: {error}; see --help.")
    if problems:
        raise SetupError(" ".join(problems))
    try:
        return Settings(**values, given=frozenset(values))
    except ValueError as error:
        raise SetupError(f"{error}.") from None


def flag_of(name: str) -> str:
    """The setting's flag on the command line."""
    return "--" + name.replace("_", "-")


def unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each variable that looks like a setting but is not one; never includes its value."""
    known = [name.upper() for name in SETTINGS]
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
