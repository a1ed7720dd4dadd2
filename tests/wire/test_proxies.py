"""The proxies of docs/proxies.md between clients and the server: what works, and how broken configurations look."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sessions_client import Client, InvalidArgument, SessionsError, Unavailable
from tests.support.apache import running_apache
from tests.support.command_line import run_here
from tests.support.proxies import KINDS, running_proxy
from tests.support.server import Server, start_server

STREAMS = 130
"""More than any of them allows on one connection by default."""


class Place(NamedTuple):
    server: Server
    client: Client
    """Connected through the proxy."""
    address: str
    """The address of the proxy."""


def proxy_findings(address: str, folder: Path) -> list[tuple[str, str]]:
    """The doctor's findings about a proxy."""
    done = run_here("doctor", "--through", address, folder=folder)
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    return [(grade, sentence) for grade, subject, sentence in lines if subject == "proxy"]


@pytest.fixture(scope="module", params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    with (
        start_server(folder) as server,
        running_proxy(request.param, folder, server.address) as address,
        Client(address) as client,
    ):
        yield Place(server, client, address)


def test_more_streams_than_a_connection_allows_delay_no_call(place: Place) -> None:
    sessions = place.client.sessions
    session = sessions.create("u")
    subscriptions = [sessions.subscribe(session.id) for _ in range(STREAMS)]
    sessions.start(session.id)
    assert {subscription.next(timeout=60).type for subscription in subscriptions} == {"state_change"}  # type: ignore[union-attr]  # it is not the end
    for subscription in subscriptions:
        subscription.close()


def test_a_large_request_and_its_response_pass(place: Place) -> None:
    sessions = place.client.sessions
    session = sessions.create("u")
    messages: list[Any] = [{"role": "user", "content": "x" * 250_000} for _ in range(14)]
    assert len(sessions.add_messages(session.id, messages=messages)) == 14
    assert sum(len(message.content) for message in sessions.get_history(session.id, limit=14)) == 3_500_000


def test_an_error_with_many_violations_passes_as_it_is(place: Place) -> None:
    messages: list[Any] = [{"role": "x" * 65, "content": "y"} for _ in range(40)]
    session = place.client.sessions.create("u")
    with pytest.raises(InvalidArgument) as caught:
        place.client.sessions.add_messages(session.id, messages=messages)
    assert caught.value.reason == "INVALID_REQUEST"
    assert len(caught.value.violations) >= 5


def test_a_dead_server_is_unavailable_and_found_again(place: Place) -> None:
    sessions = place.client.sessions
    session = sessions.create("u")
    with sessions.subscribe(session.id) as subscription:
        place.server.kill()
        with pytest.raises(SessionsError) as caught:
            sessions.add_message(session.id, role="user", content="x", timeout=2)
        assert isinstance(caught.value, Unavailable) or caught.value.code == "DEADLINE_EXCEEDED"
        place.server.start()
        sessions.add_message(session.id, role="user", content="y", timeout=60)
        event = subscription.next(timeout=60)
        assert event is not None
        assert event.data.content == "y"


def test_the_doctor_finds_no_problem(place: Place, tmp_path: Path) -> None:
    found = proxy_findings(place.address, tmp_path)
    assert [grade for grade, _ in found] == ["ok"] * 3, found


def test_the_doctor_names_what_a_proxy_refuses(tmp_path: Path) -> None:
    with (
        start_server(tmp_path) as server,
        running_proxy("nginx", tmp_path, server.address, without="client_max_body_size") as address,
    ):
        [(grade, sentence)] = proxy_findings(address, tmp_path)
    assert grade == "FAIL"
    assert sentence.startswith(f"A request of 2 MiB to {address} got an error that is not the server's")


def test_a_subscription_continues_after_the_page_that_apache_writes_into_it(tmp_path: Path) -> None:
    with (
        start_server(tmp_path) as server,
        running_apache(tmp_path, server.address) as address,
        Client(address) as client,
    ):
        session = client.sessions.create("u")
        with client.sessions.subscribe(session.id, after_sequence=0) as subscription:
            assert subscription.next(timeout=60) is not None
            server.kill()
            server.start()
            client.sessions.add_message(session.id, role="user", content="after it", timeout=60)
            event = subscription.next(timeout=60)
    assert event is not None
    assert event.data.content == "after it"
