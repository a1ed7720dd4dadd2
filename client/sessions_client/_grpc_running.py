"""Keeps gRPC running in a process that has used it.

gRPC shuts down in a thread of its own once the last channel is closed. A child that is forked meanwhile lacks that
thread, and its first channel would wait for the end of the shutdown forever. A channel that is never closed, and never
connects, prevents the shutdown."""

from __future__ import annotations

from functools import cache

import grpc


@cache
def keep_grpc_running() -> grpc.Channel:
    """To be called before the first channel is opened. Does nothing after the first time."""
    return grpc.insecure_channel("127.0.0.1:9")
