"""The command line with shorter limits for a silent connection, so that a test waits less."""

from __future__ import annotations

from sessions_cli.__main__ import main
from sessions_client import _follow, _options

SILENCE_SECONDS = 2.0
PING_MS = 500
PINGS = ("grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms")


def shorten() -> None:
    assert hasattr(_follow, "MAX_SILENCE_SECONDS")
    _follow.MAX_SILENCE_SECONDS = SILENCE_SECONDS
    assert set(PINGS) <= dict(_options._OPTIONS).keys()
    _options._OPTIONS = tuple(
        (name, PING_MS if name in PINGS else value) for name, value in _options._OPTIONS
    )


if __name__ == "__main__":
    shorten()
    main()
