"""Logic that is written once and runs on both clients: a generator yields calls and is given what they return."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar

from sessions_client import AsyncClient, AsyncPager, Client, Pager, SessionsError

T = TypeVar("T")

Call: TypeAlias = Callable[[Any], Any]
"""What to do with a client of either kind."""

Steps: TypeAlias = Generator[Call, Any, T]


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
