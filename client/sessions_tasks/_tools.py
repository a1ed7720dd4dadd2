"""Runs the operations of the table."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Collection, Coroutine, Mapping
from typing import Any, Final, TypeAlias, TypeVar, overload

from sessions_client import AsyncClient, Client
from sessions_tasks._calls import Calls, plain
from sessions_tasks._check import missing_arguments
from sessions_tasks._errors import StepProblem, TaskError
from sessions_tasks._operations import TOOLS, Operation
from sessions_tasks._schemas import violations

T = TypeVar("T")
Arguments: TypeAlias = Mapping[str, Any]


async def run_operation(
    calls: Calls,
    operation: Operation,
    arguments: Arguments,
    *,
    request_id: str | None = None,
    parts: Collection[str] = (),
) -> Any:
    """Runs the operation once, and returns JSON. `parts` is what `get` returns in addition to the session.

    Raises StepProblem for unsuitable arguments, and the client's errors.
    """
    wrong = [*missing_arguments(operation, arguments)]
    wrong += [
        f"The arguments of `{operation.name}` are wrong: {said}."
        for said in violations(operation.schema, arguments)
    ]
    if wrong:
        raise StepProblem(" ".join(wrong))
    request = {"request_id": request_id} if operation.writes and request_id else {}
    match operation.name:
        case "get":
            return await _get(calls, arguments, parts)
        case "list" | "search":
            return plain(await calls.page(operation.name, **arguments))
        case "update":
            return await _update(calls, arguments, request_id)
        case "get_context" if "path" in arguments:
            return plain((await calls.call("get_context", **arguments)).value)
        case "import":
            return plain(await calls.call("import_", **arguments, **request))
        case "clear_history":
            return {"cleared_count": await calls.call("clear_history", **arguments, **request)}
        case "delete":
            await calls.call("delete", **arguments, **request)
            return {"deleted": True}
    return plain(await calls.call(operation.name, **arguments, **request))


async def _get(calls: Calls, arguments: Arguments, parts: Collection[str]) -> Any:
    session = plain(await calls.call("get", **arguments))
    for part in sorted(parts):
        session[part] = plain(await calls.call(f"get_{part}", **arguments))
    return session


_UPDATES: Final = {"context": ("update_context", ("context",)), "session": ("update", ("metadata", "config"))}


async def _update(calls: Calls, arguments: Arguments, request_id: str | None) -> Any:
    """Writes the context and the session one after the other, each with its own request id."""
    session_id = arguments["session_id"]
    written: dict[str, Any] = {}
    for what, (method, names) in _UPDATES.items():
        given = {name: arguments[name] for name in names if name in arguments}
        if given:
            request = {"request_id": f"{request_id}:{what}"} if request_id else {}
            written[what] = plain(await calls.call(method, session_id=session_id, **given, **request))
    session = written.pop("session", None) or plain(await calls.call("get", session_id=session_id))
    return {**session, **written}


@overload
def call_tool(client: Client, name: str, arguments: Arguments, *, request_id: str | None = None) -> Any: ...


@overload
def call_tool(
    client: AsyncClient, name: str, arguments: Arguments, *, request_id: str | None = None
) -> Coroutine[Any, Any, Any]: ...


def call_tool(
    client: Client | AsyncClient, name: str, arguments: Arguments, *, request_id: str | None = None
) -> Any:
    """Runs a model's call of one of the `tool_definitions`, and returns JSON for the model.

    With an `AsyncClient` the result is awaited. A `request_id` makes the call safe to repeat. Raises TaskError for an
    unknown name or wrong arguments, with a sentence for the model, and the client's errors.
    """
    return of_either(client, lambda calls: _call(calls, name, arguments, request_id))


async def _call(calls: Calls, name: str, arguments: Arguments, request_id: str | None) -> Any:
    if name not in TOOLS:
        raise TaskError(f"There is no tool `{name}`. The tools are {', '.join(TOOLS)}.")
    try:
        return await run_operation(calls, TOOLS[name], arguments, request_id=request_id)
    except StepProblem as error:
        raise TaskError(str(error)) from None


def of_either(client: Client | AsyncClient, act: Any) -> Any:
    """Runs `act` with the calls of a client. Returns a coroutine for an asynchronous client, else the result."""

    async def run() -> Any:
        calls = Calls(client)
        try:
            return await act(calls)
        finally:
            calls.close()

    return run() if isinstance(client, AsyncClient) else _blocking(run())


def _blocking(work: Coroutine[Any, Any, T]) -> T:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_interruptible(work))
    # In a notebook a loop is already running here, and another cannot run in the same thread.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


async def _interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Awaits `work` so that Ctrl-C ends it at once. Without a wake-up descriptor, a signal that reaches another thread,
    or this one just before it sleeps, is noticed only when the loop has something to do.
    https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd"""
    if threading.current_thread() is not threading.main_thread():
        return await work
    loop = asyncio.get_running_loop()
    reading, writing = socket.socketpair()
    with reading, writing:
        reading.setblocking(False)
        writing.setblocking(False)
        loop.add_reader(reading, reading.recv, 4096)
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        try:
            return await work
        finally:
            signal.set_wakeup_fd(before)
            loop.remove_reader(reading)
