"""Logic that is written once for both clients: a generator yields calls and receives their results."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeAlias, TypeVar

from sessions_client import AsyncClient, AsyncPager, Client, Pager, SessionsError

T = TypeVar("T")

Call: TypeAlias = Callable[[Any], Any]
"""A call on a client of either kind."""

Steps: TypeAlias = Generator[Call, Any, T]


class OwnLoop:
    """Remembers the event loop in which an object was last used, for synchronous calls from other threads."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def remember(self) -> None:
        """Called in a coroutine: remembers the running loop."""
        self._loop = asyncio.get_running_loop()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs the work in the remembered loop, or in a new one if there is none, and returns its result.

        Raises InvalidStateError in a thread that runs an event loop, since it would wait for itself.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            if self._loop is None or not self._loop.is_running():
                return asyncio.run(work)
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        work.close()
        raise asyncio.InvalidStateError(
            "A synchronous method was called within an event loop. Await the asynchronous one instead."
        )


def run(client: Client, steps: Steps[T]) -> T:
    """Runs the steps on a synchronous client and returns their result."""
    given: Any = None
    failure: SessionsError | None = None
    while True:
        try:
            call = steps.send(given) if failure is None else steps.throw(failure)
        except StopIteration as end:
            result: T = end.value
            return result
        given, failure = None, None
        try:
            found = call(client)
            given = list(found) if isinstance(found, Pager) else found
        except SessionsError as error:
            failure = error


async def run_async(client: AsyncClient, steps: Steps[T]) -> T:
    """Runs the steps on an asynchronous client and returns their result."""
    given: Any = None
    failure: SessionsError | None = None
    while True:
        try:
            call = steps.send(given) if failure is None else steps.throw(failure)
        except StopIteration as end:
            result: T = end.value
            return result
        given, failure = None, None
        try:
            found = call(client)
            given = [each async for each in found] if isinstance(found, AsyncPager) else await found
        except SessionsError as error:
            failure = error
