"""One asynchronous interface to either client, and results as JSON."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sessions_client import AsyncClient, AsyncPage, Client, Event, Page, SessionData

_THREADS: Final = 256
"""A synchronous call occupies a thread while it runs, and a step that waits for an event may run for hours."""


class Calls:
    """The methods of `client.sessions`, awaitable."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self._sessions = client.sessions
        # Waits take at most half of the threads, so that what they wait for can still run.
        self._waiting = asyncio.Semaphore(_THREADS // 2)
        self._threads = ThreadPoolExecutor(_THREADS, "sessions-task") if isinstance(client, Client) else None

    async def call(self, method: str, /, **arguments: Any) -> Any:
        """The result of a method; for a list, its first page."""
        bound = functools.partial(getattr(self._sessions, method), **arguments)
        if self._threads is None:
            return await bound()
        return await self._in_thread(bound)

    async def page(self, method: str, /, **arguments: Any) -> Any:
        """The first page of a list."""
        bound = functools.partial(getattr(self._sessions, method), **arguments)
        if self._threads is None:
            return await bound()
        return await self._in_thread(lambda: next(bound().pages()))

    @asynccontextmanager
    async def subscribe(self, **arguments: Any) -> AsyncIterator[AsyncIterator[Event]]:
        """The events of a session."""
        bound: Callable[[], Any] = functools.partial(self._sessions.subscribe, **arguments)
        if self._threads is None:
            async with bound() as events:
                yield aiter(events)
            return
        async with self._waiting:
            events = await self._in_thread(bound)
            try:
                yield self._each(events)
            finally:
                events.close()

    async def _each(self, events: Any) -> AsyncIterator[Event]:
        while (event := await self._in_thread(lambda: next(events, None))) is not None:
            yield event

    async def _in_thread(self, act: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, act)

    def close(self) -> None:
        """Releases the threads. The client stays open."""
        if self._threads is not None:
            self._threads.shutdown(wait=False)


def plain(value: Any) -> Any:
    """A client's result as JSON: times as RFC 3339, durations as seconds, enums as their names."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, SessionData):
        return json.loads(value.to_json())
    if isinstance(value, Page | AsyncPage):
        return {"sessions": [plain(each) for each in value], "next_page_token": value.next_page_token}
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    return [plain(each) for each in value]
