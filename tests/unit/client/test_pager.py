"""Listings, page by page, with either client."""

from __future__ import annotations

import pickle
from typing import Any

import grpc
import pytest

from sessions_client import AsyncClient, Client, InvalidArgument, Page, Pager
from sessions_proto.v1 import sessions_pb2 as pb
from tests.unit.client.scripted import Failure, ScriptedServer

PAGES = {"": (["a", "b"], "2"), "2": ([], "3"), "3": (["c"], "")}


@pytest.fixture(autouse=True)
def listing(server: ScriptedServer) -> None:
    def answer(kind: Any) -> Any:
        def page(request: Any, context: grpc.ServicerContext) -> Any:
            ids, following = PAGES[request.page_token]
            return kind(sessions=[pb.Session(id=id_) for id_ in ids], next_page_token=following)

        return page

    server.on("ListSessions", answer(pb.ListSessionsResponse))
    server.on("SearchSessions", answer(pb.SearchSessionsResponse))


async def test_iterating_fetches_all_pages_including_empty_ones(client: AsyncClient) -> None:
    assert [session.id async for session in client.sessions.list()] == ["a", "b", "c"]
    assert [session.id async for session in client.sessions.search(metadata_filter={})] == ["a", "b", "c"]


async def test_a_page_is_fetched_when_it_is_reached(client: AsyncClient, server: ScriptedServer) -> None:
    async for _ in client.sessions.list():
        break
    assert len(server.calls) == 1


async def test_pages_can_be_fetched_one_by_one(client: AsyncClient) -> None:
    pages = [[session.id for session in page] async for page in client.sessions.list().pages()]
    assert pages == [["a", "b"], [], ["c"]]


async def test_a_listing_continues_where_another_stopped(client: AsyncClient) -> None:
    assert [session.id async for session in client.sessions.list(page_token="3")] == ["c"]


async def test_every_page_is_asked_for_with_the_same_query(
    client: AsyncClient, server: ScriptedServer
) -> None:
    query: Any = {"user_id": "u", "status": "active", "order_by": "create_time desc", "page_size": 2}
    [_ async for _ in client.sessions.search(metadata_filter={"device": "web"}, **query)]
    requests = server.requests("SearchSessions")
    assert [request.page_token for request in requests] == ["", "2", "3"]
    for request in requests:
        request.ClearField("page_token")
        assert request == requests[0]
    assert (requests[0].user_id, requests[0].page_size, requests[0].order_by) == ("u", 2, "create_time desc")
    assert list(requests[0].states) == [pb.SESSION_STATE_ACTIVE]
    assert requests[0].metadata_filter["device"] == "web"


async def test_a_page_that_fails_is_fetched_again(client: AsyncClient, server: ScriptedServer) -> None:
    steps = server._steps["ListSessions"]
    steps.appendleft(Failure(grpc.StatusCode.UNAVAILABLE))
    assert len([session async for session in client.sessions.list()]) == 3


async def test_bad_filters_are_refused_by_the_call_itself(client: AsyncClient) -> None:
    with pytest.raises(InvalidArgument, match="status"):
        await client.sessions.list(status="sleeping")


async def test_awaiting_the_asynchronous_pager_gives_the_first_page(server: ScriptedServer) -> None:
    async with AsyncClient(server.address) as client:
        page = await client.sessions.list()
        assert [session.id for session in page] == ["a", "b"]
        assert page.next_page_token == "2"
        following = await page.next_page()
        assert following is not None
        assert following == []
        last = await following.next_page()
        assert last is not None
        assert await last.next_page() is None
        assert pickle.loads(pickle.dumps(page)) == list(page)


def test_the_synchronous_pager_has_its_first_page_when_the_call_returns(server: ScriptedServer) -> None:
    with Client(server.address) as client:
        pager = client.sessions.list()
        assert isinstance(pager, Pager)
        assert len(server.calls) == 1
        page = next(pager.pages())
        assert isinstance(page, Page)
        assert page[0].id == "a"
        assert [session.id for session in pager] == ["a", "b", "c"]
