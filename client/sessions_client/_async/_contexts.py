"""The context: one JSON object per session."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, overload

from sessions_client._async._caller import AsyncResource
from sessions_client._changes import Change, changes_of
from sessions_client._convert import _context as convert
from sessions_client._models import NOT_GIVEN, Context, NotGiven, Span


class AsyncContexts(AsyncResource):
    """Reads and writes contexts. Values must be JSON: strings, booleans, None, numbers that a double represents
    exactly, and lists and dicts of these, at most 32 levels deep; InvalidArgument names the path of anything
    else."""

    async def set_context(
        self,
        session_id: str,
        *,
        context: Mapping[str, Any],
        forget_past: bool = False,
        etag: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Context:
        """Replaces the whole context; returns the new one.

        `forget_past` erases earlier values from the log at once, so that `at_sequence` cannot read them.
        Raises ResourceExhausted above 1 MiB of JSON, 3.5 MiB as it is sent (a number in a list takes 11 bytes), or
        10,000 keys; Aborted for a stale `etag`.
        """
        request = convert.set_request(
            session_id, context=context, forget_past=forget_past, etag=etag, request_id=request_id
        )
        response = await self._caller.unary(self._caller.stub.SetContext, request, timeout=timeout)
        return convert.read_context(response.context)

    async def get_context(
        self,
        session_id: str,
        *,
        path: str | None = None,
        at_sequence: int | None = None,
        timeout: Span | None = None,
    ) -> Context:
        """The context, a `dict` with `etag` and `update_time`.

        With a `path`, only the value at that path is sent, as `value` of an otherwise empty dict; `has_value`
        distinguishes a missing value from a null. `at_sequence` reads the context as it was right after that event.

        Raises FailedPrecondition for a path through a scalar or past the end of a list, as a write does; OutOfRange
        for an `at_sequence` ahead of the log or no longer kept."""
        request = convert.get_request(session_id, path=path, at_sequence=at_sequence)
        response = await self._caller.unary(self._caller.stub.GetContext, request, timeout=timeout)
        return convert.read_context(response.context)

    @overload
    async def update_context(
        self,
        session_id: str,
        *,
        path: str,
        value: Any,
        forget_past: bool = False,
        etag: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Context: ...

    @overload
    async def update_context(
        self,
        session_id: str,
        *,
        context: Mapping[str, Any],
        forget_past: bool = False,
        etag: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Context: ...

    @overload
    async def update_context(
        self,
        session_id: str,
        *,
        changes: Iterable[Change],
        forget_past: bool = False,
        etag: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Context: ...

    async def update_context(
        self,
        session_id: str,
        *,
        path: str | None = None,
        value: Any = NOT_GIVEN,
        context: Mapping[str, Any] | None = None,
        changes: Iterable[Change] | NotGiven = NOT_GIVEN,
        forget_past: bool = False,
        etag: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Context:
        """Changes parts of the context, all or none; returns the whole new one.

        Use one of three forms: `path=` and `value=` set one value; `context=` merges its keys into the root, where
        each given key replaces the old value and None is stored as null; `changes=` applies up to 100 operations in
        order: `Set`, `Remove`, `Increment`, `Append`, `Merge`, or dicts such as `{"path": "visits", "increment": 1}`.

        Paths are dotted (`user_input.query`, `items.0.name`); a path that starts with `/` is a JSON Pointer, for keys
        with dots. `forget_past` is as in `set_context`. Raises FailedPrecondition for a path through a scalar or past
        the end of a list."""
        wanted = changes_of(path=path, value=value, context=context, changes=changes)
        request = convert.update_request(
            session_id, changes=wanted, forget_past=forget_past, etag=etag, request_id=request_id
        )
        response = await self._caller.unary(self._caller.stub.UpdateContext, request, timeout=timeout)
        return convert.read_context(response.context)
