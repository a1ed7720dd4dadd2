"""Connections that the server closes because of their age."""

from __future__ import annotations

import json
from pathlib import Path

from sessions_client import AsyncClient
from tests.support.ports import HOST
from tests.support.proxy import proxy_to
from tests.support.server import Server, start_server

CONNECTIONS = 5


def hasty(folder: Path, **options: int) -> Server:
    """A server with changed gRPC options."""
    named = {f"grpc.{name}": value for name, value in options.items()}
    return start_server(folder, program=["-m", "tests.faults.subscriptions.hasty_server", json.dumps(named)])


async def test_a_client_cut_off_by_connection_age_misses_nothing(tmp_path: Path) -> None:
    with hasty(tmp_path, max_connection_age_ms=200, max_connection_age_grace_ms=100) as server:
        port = int(server.address.rpartition(":")[2])
        async with (
            proxy_to(HOST, port) as proxy,
            AsyncClient(proxy.address) as watching,
            AsyncClient(server.address) as writing,
        ):
            session = await writing.sessions.create("u")
            async with watching.sessions.subscribe(session.id) as events:
                sent = 1
                while proxy.connections < CONNECTIONS:
                    message = await writing.sessions.add_message(session.id, role="user", content="more")
                    sent += 1
                    assert message.sequence == sent, "a retried message was stored twice"
                    assert (await anext(events)).sequence == sent
