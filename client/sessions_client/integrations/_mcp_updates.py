"""Notifies subscribed MCP clients when the resources of sessions change.

Clients of protocol 2026-07-28 open one stream for several resources; earlier ones subscribe to each. Either way a
session is followed before the client is answered, so no later change is missed.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp.shared.uri_template import UriTemplate
from mcp_types import (
    INVALID_PARAMS,
    EmptyResult,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    UnsubscribeRequestParams,
)

from sessions_client import SessionsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.server import MCPServer
    from mcp.server.context import ServerRequestContext
    from mcp_types import SubscriptionsListenResult

    from sessions_client import AsyncClient, AsyncSubscription, Event

SESSION: Final = "session://{session_id}"
HISTORY: Final = "session://{session_id}/history"
_SESSION: Final = UriTemplate.parse(SESSION)
_HISTORY: Final = UriTemplate.parse(HISTORY)
_OF_A_HISTORY: Final = (
    "message",
    "history_cleared",
    "history_truncated",
    "message_erased",
    "imported",
    "deleted",
)
_FOLLOWED: Final = "sessions_client"
"""The key under which a connection's state has its subscriptions, by resource."""


def add_updates(made: MCPServer[Any], client: AsyncClient) -> None:
    """Serves the subscriptions of both protocols."""
    updates = _Updates(client)
    # MCPServer has no API to add these handlers.
    handlers = made._lowlevel_server
    handlers.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, updates.listen)
    handlers.add_request_handler("resources/subscribe", SubscribeRequestParams, updates.subscribe)
    handlers.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, updates.unsubscribe)


class _Updates:
    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def listen(
        self, context: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Serves one stream, which ends when one of the sessions can no longer be followed."""
        bus = InMemorySubscriptionBus()
        handler = ListenHandler(bus)
        async with AsyncExitStack() as opened:
            uris = dict.fromkeys(params.notifications.resource_subscriptions or ())
            followed = [await opened.enter_async_context(await self._follow(uri)) for uri in uris]
            # The handler knows its stream before these run: it does not wait before that.
            for uri, events in zip(uris, followed, strict=True):
                update = ResourceUpdated(uri=uri)
                publishing = asyncio.create_task(_publish(events, update, bus, handler.close))
                opened.callback(publishing.cancel)
            return await handler(context, params)

    async def subscribe(
        self, context: ServerRequestContext[Any, Any], params: SubscribeRequestParams
    ) -> EmptyResult:
        """Starts updates of one resource, which end with the connection."""
        connection, uri = context.session._connection, params.uri
        followed = connection.state.setdefault(_FOLLOWED, {})

        async def notify(_: Event) -> None:
            await connection.send_resource_updated(uri)

        if uri not in followed or followed[uri].closed:
            followed[uri] = events = await self._follow(uri, callback=notify)
            connection.exit_stack.push_async_callback(events.close)
        return EmptyResult()

    async def unsubscribe(
        self, context: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams
    ) -> EmptyResult:
        """Ends the updates of one resource."""
        events = context.session._connection.state.get(_FOLLOWED, {}).pop(params.uri, None)
        if events is not None:
            await events.close()
        return EmptyResult()

    async def _follow(self, uri: str, callback: Callable[[Event], object] | None = None) -> AsyncSubscription:
        """The events that change a resource, from now on. Raises MCPError."""
        of_session, of_history = _SESSION.match(uri), _HISTORY.match(uri)
        found = of_session or of_history
        if found is None:
            raise MCPError(
                INVALID_PARAMS, f"There is no resource {uri!r}; give session://ID or session://ID/history."
            )
        try:
            return await self._client.sessions.subscribe(
                str(found["session_id"]),
                event_types=_OF_A_HISTORY if of_history else None,
                callback=callback,
            )
        except SessionsError as error:
            raise MCPError(INVALID_PARAMS, f"{uri} cannot be followed: {error}") from error


async def _publish(
    events: AsyncSubscription, update: ResourceUpdated, bus: InMemorySubscriptionBus, end: Callable[[], None]
) -> None:
    """Ends the stream with the events: after a deletion, or an error, which the client gets when it opens another."""
    with suppress(SessionsError):
        async for _ in events:
            await bus.publish(update)
    end()
