"""Every setting of the server, its default and its unit. Read from the environment and from flags of the same names."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def _from_seconds(value: object) -> object:
    """A span as an operator writes it: a number of seconds."""
    return float(value) if isinstance(value, str) else value


Seconds = Annotated[timedelta, BeforeValidator(_from_seconds)]


class LogFormat(StrEnum):
    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SESSIONS_", frozen=True)

    listen: str = Field(
        default="127.0.0.1:50051",
        description="Address and port to serve on; port 0 picks a free one.",
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
        description="Authority whose client certificates are demanded, PEM.",
    )
    insecure: bool = Field(
        default=False,
        description="Serve beyond loopback without TLS or without authentication.",
    )
    metrics_listen: str = Field(
        default="",
        description="Address and port of the Prometheus metrics, such as `127.0.0.1:9464`.",
    )
    log_format: LogFormat = Field(
        default=LogFormat.CONSOLE, description="`console` for people, `json` for programs."
    )
    log_level: LogLevel = Field(
        default=LogLevel.INFO, description="The least important level that is logged."
    )
    drain_grace: Seconds = Field(
        default=timedelta(seconds=10),
        description="How long calls in flight may take after SIGTERM, in seconds.",
    )
    events_kept: Seconds = Field(
        default=timedelta(days=7),
        description="How long events that are no part of the history can be resumed from, in seconds.",
    )
    sweep_interval: Seconds = Field(
        default=timedelta(seconds=1),
        description="How often expiries are recorded, in seconds; what callers see of them does not depend on it.",
    )
    checkpoint_interval: Seconds = Field(
        default=timedelta(seconds=30),
        description="After how much quiet a subscriber gets a checkpoint, in seconds; 30 at most.",
        le=timedelta(seconds=30),
        gt=timedelta(0),
    )
    max_streams: int = Field(default=20_000, ge=1, description="Open subscriptions and transfers in all.")
    max_streams_per_caller: int = Field(
        default=10_000, ge=1, description="Open subscriptions and transfers of a credential."
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
    pool_size: int = Field(default=8, ge=2, description="Connections that one replica opens to PostgreSQL.")
    allow_unsafe_durability: bool = Field(
        default=False,
        description="Start on a PostgreSQL whose `fsync` or `synchronous_commit` is off, and which may lose writes.",
    )
