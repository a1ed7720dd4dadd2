"""Both clients behind one interface, so that one suite covers both.

The synchronous client runs in threads and looks like the asynchronous one: calls are awaited, iterators and context
managers are asynchronous.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, cast

from sessions_client import AsyncClient, Client, Draft, Page, Pager, Pipeline, Records, Sessions, Subscription

FLAVOURS = ("sync", "async")
_TARGETS = (Client, Sessions, Records, Pager, Page, Subscription, Pipeline, Draft)


def open_client(flavour: str, target: Any, **options: Any) -> AsyncClient:
    """A client of the flavour, typed as the asynchronous one, whose interface both have here."""
    if flavour == "async":
        return AsyncClient(target, **options)
    return cast("AsyncClient", _Threaded(Client(target, **options)))


class _Threaded:
    """Gives a synchronous object an asynchronous interface."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.target, name)
        return functools.partial(_Call, value) if callable(value) else _wrap(value)

    def __aiter__(self) -> AsyncIterator[Any]:
        return _iterate(self.target)

    async def __anext__(self) -> Any:
        return await _next(self.target)

    async def __aenter__(self) -> Any:
        return _wrap(await asyncio.to_thread(self.target.__enter__))

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.to_thread(self.target.__exit__, *exc)

    def __len__(self) -> int:
        return len(self.target)

    def __iter__(self) -> Any:
        return iter(self.target)


class _Call:
    """A call that is not awaited yet; like a pager or subscription it can also be iterated or entered."""

    def __init__(self, call: Callable[..., Any], *args: Any, **options: Any) -> None:
        self._call = functools.partial(call, *args, **options)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._run().__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for item in await self._run():
            yield item

    async def __aenter__(self) -> Any:
        self._entered = await self._run()
        return await self._entered.__aenter__()

    async def __aexit__(self, *exc: object) -> None:
        await self._entered.__aexit__(*exc)

    async def pages(self) -> AsyncIterator[Any]:
        async for page in (await self._run()).pages():
            yield page

    async def _run(self) -> Any:
        return _wrap(await asyncio.to_thread(self._call))


def _wrap(value: Any) -> Any:
    wrapped = isinstance(value, _TARGETS) or hasattr(value, "__next__")
    return _Threaded(value) if wrapped else value


async def _iterate(target: Any) -> AsyncIterator[Any]:
    iterator = iter(target)
    while True:
        try:
            yield await _next(iterator)
        except StopAsyncIteration:
            return


async def _next(iterator: Any) -> Any:
    nothing = object()
    # StopIteration cannot pass through a future.
    item = await asyncio.to_thread(next, iterator, nothing)
    if item is nothing:
        raise StopAsyncIteration
    return _wrap(item)
