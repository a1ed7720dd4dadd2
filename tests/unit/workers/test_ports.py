"""The ports that workers share are held by the supervisor."""

from __future__ import annotations

import socket

import pytest

from sessions_server.domain.errors import SetupError
from sessions_server.settings import Settings
from sessions_server.workers.ports import shared_ports

FREE = "127.0.0.1:0"


def listen(address: str, *, shared: bool) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_server((host, int(port)), reuse_port=shared)


def test_a_free_port_is_chosen_once_and_only_for_the_workers() -> None:
    with shared_ports(Settings(listen=FREE, http_listen=FREE)) as given:
        assert len({FREE, given.listen, given.http_listen}) == 3
        for address in (given.listen, given.http_listen):
            with pytest.raises(OSError, match="in use"):
                listen(address, shared=False)
            with listen(address, shared=True), listen(address, shared=True):
                pass
    with shared_ports(Settings(listen=given.listen)) as again:
        assert again == Settings(listen=given.listen)


def test_an_unavailable_address_is_refused_with_its_setting() -> None:
    with listen(FREE, shared=True) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        for given, setting in (
            (Settings(listen=taken), "SESSIONS_LISTEN"),
            (Settings(listen=FREE, http_listen=taken), "SESSIONS_HTTP_LISTEN"),
            (Settings(listen="host.invalid:0"), "SESSIONS_LISTEN"),
        ):
            with pytest.raises(SetupError, match=f"; give {setting} a free address"), shared_ports(given):
                pass
