"""Keeps gRPC running in a process that has used it.

gRPC shuts down in its own thread once the last channel is closed. A child forked in the meantime lacks that thread, and
its first channel would wait forever for the shutdown to end. A channel that is never closed, and never connects,
prevents the shutdown.
"""

from __future__ import annotations

from functools import cache

import grpc


@cache
def keep_grpc_running() -> grpc.Channel:
    """Call it before opening the first channel. Does nothing after the first time."""
    return grpc.insecure_channel("127.0.0.1:9")
