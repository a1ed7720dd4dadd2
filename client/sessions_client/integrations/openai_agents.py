"""The OpenAI Agents SDK's session memory, kept by the session service.

    from agents import Agent, Runner
    from sessions_client import AsyncClient
    from sessions_client.integrations.openai_agents import SessionsSession

    client = AsyncClient("127.0.0.1:50051")
    session = SessionsSession("customer-42", client=client, user_id="u1")
    result = await Runner.run(agent, "Hello", session=session)

An item becomes a message: its JSON is the payload, byte for byte, and its role, text, name and call id are set as well,
so that other programs and the console can read the conversation. Adding items takes one call, even the first time; so
do reading, popping and clearing.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from sessions_client.integrations._extras import needs

with needs("openai-agents", __name__):
    from agents.memory.session import SessionABC, _await_mutation, _CompactionSnapshot
    from agents.memory.session_settings import SessionSettings, coerce_session_settings, resolve_session_limit

from sessions_client import (
    Aborted,
    AsyncClient,
    AsyncDraft,
    Message,
    NotFound,
    SessionsError,
    StorageOptions,
    ops,
)
from sessions_client.integrations import _payloads as payloads
from sessions_client.integrations._ids import metadata_of, session_id_of, user_id_of

if TYPE_CHECKING:
    from agents import TResponseInputItem

_EVERYTHING: Final = 2**31 - 1
_TOOL_ITEMS: Final = {"function_call": "assistant", "function_call_output": "tool"}

P = ParamSpec("P")
T = TypeVar("T")


def _mutation(change: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Finishes the change before a cancellation of the caller takes effect, as the SDK's own sessions do."""

    @functools.wraps(change)
    async def completed(*args: P.args, **kwargs: P.kwargs) -> T:
        return await _await_mutation(change(*args, **kwargs))

    return completed


class SessionsSession(SessionABC):
    """One conversation of the Agents SDK. `storage_options` is for the session that adding the first items creates."""

    def __init__(
        self,
        session_id: str,
        *,
        client: AsyncClient,
        user_id: str = "default",
        session_settings: SessionSettings | dict[str, Any] | None = None,
        storage_options: StorageOptions | Mapping[str, Any] | None = None,
    ) -> None:
        self.session_id = session_id
        self.session_settings = coerce_session_settings(session_settings or SessionSettings())
        self._client = client
        self._id = session_id_of(session_id)
        self._create = ops.new_session(
            user_id_of(user_id),
            metadata=metadata_of(session_id),
            storage_options=storage_options,
            if_exists="return",
        )
        self._answer: AsyncDraft | None = None
        """The response being shown, until its items are added."""
        self._was_found = False
        """Whether the session existed after the last commit; then the next one need not say how to create it."""

    @asynccontextmanager
    async def draft(self) -> AsyncIterator[AsyncDraft]:
        """Shows subscribers one model response: write the streamed text to the draft.

        The next items added end the draft: the item with its text becomes its message. If none has that text, or if the
        block raises, the draft is discarded.
        """
        self._answer = draft = self._client.sessions.draft(self._id)
        try:
            yield draft
        except BaseException:
            await _discard(draft)
            raise

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """The newest `limit` items, oldest first; by default as many as the session's settings say, or all."""
        wanted = resolve_session_limit(limit, self.session_settings)
        # A negative limit returns no items, as in the SDK's own SQLite session.
        _, items = await self._read(_EVERYTHING if wanted is None or wanted < 0 else wanted)
        return items

    @_mutation
    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Adds items, all or none, and creates the session if needed."""
        if not items:
            return
        answer, shown = self._answer, _shown(items)
        ended = [] if answer is None else _with_text(answer.text, items, shown)[:1]
        if answer and ended:
            ended[0]["id"] = answer.message_id
        await self._commit(items, shown)
        self._answer = None
        if answer and answer.text and not ended:
            await _discard(answer)

    @_mutation
    async def pop_item(self) -> TResponseInputItem | None:
        """Removes the newest item permanently and returns it; None if there is none."""
        newest = ops.truncate(newest=1, return_removed=True)
        try:
            committed = await self._client.sessions.commit(self._id, newest)
        except NotFound:
            return None
        removed = committed.results[0].messages
        if not removed:
            return None
        try:
            (item,) = await self._items(removed)
        except payloads.PartMissing:
            # Another caller cleared the session after the item was removed: treated as if the clear came first.
            return None
        await payloads.delete_chunks(self._client, self._id, removed)
        return item

    @_mutation
    async def clear_session(self) -> None:
        """Removes all items permanently."""
        try:
            await self._client.sessions.commit(
                self._id, ops.truncate(newest=_EVERYTHING), payloads.deletion(self._id)
            )
        except NotFound:
            return

    async def _read(
        self, limit: int, after: int | None = None
    ) -> tuple[Sequence[Message], list[TResponseInputItem]]:
        """The newest messages, or the oldest after a position, and the item of each."""

        async def read() -> tuple[Sequence[Message], list[TResponseInputItem]]:
            messages = await self._messages(limit, after)
            return messages, await self._items(messages)

        return await payloads.read_with_parts(read)

    async def _messages(self, limit: int, after: int | None) -> Sequence[Message]:
        if limit <= 0:
            return []
        try:
            if after is None:
                return await payloads.history(self._client, self._id, limit=limit)
            return await self._client.sessions.get_history(self._id, limit=limit, after_sequence=after)
        except NotFound:
            return []

    async def _items(self, messages: Sequence[Message]) -> list[TResponseInputItem]:
        values = await payloads.unpack(self._client, self._id, messages)
        return [_item(message, value) for message, value in zip(messages, values, strict=True)]

    async def _commit(
        self,
        items: Sequence[TResponseInputItem],
        shown: Sequence[Mapping[str, Any]],
        *,
        before: Sequence[ops.Operation] = (),
        conditions: Sequence[ops.Condition] = (),
    ) -> None:
        values = [payloads.dump(item) for item in items]
        commit = functools.partial(
            payloads.commit, self._client, self._id, values, shown, before=before, conditions=conditions
        )
        if self._was_found:
            with suppress(NotFound):  # deleted meanwhile
                await commit(create=None)
                return
        await commit(create=self._create)
        self._was_found = True

    async def _get_compaction_snapshot(
        self, limit: int, *, prune_prefix: Callable[[TResponseInputItem], bool] | None = None
    ) -> _CompactionSnapshot | None:
        """What the SDK's compaction reads, and how it replaces the end of it, in one step or not at all."""
        messages, items = await self._read(limit + 1)
        complete, messages, items = len(messages) <= limit, messages[-limit:], items[-limit:]

        @_mutation
        async def replace_suffix(start: int, output: list[TResponseInputItem]) -> bool:
            replaced = messages[start:]
            if not replaced:
                return False
            pruned: Sequence[Message] = ()
            if prune_prefix is not None:
                pruned = await self._oldest(prune_prefix, before=replaced[0].sequence, page=limit)
            removals = [ops.truncate(through_sequence=each.sequence) for each in pruned[-1:]]
            removals.append(ops.truncate(newest=len(replaced)))
            unchanged = ops.if_history_head(messages[-1].sequence)
            try:
                await self._commit(
                    output,
                    _shown(output),
                    before=removals,
                    conditions=[unchanged],
                )
            except (Aborted, NotFound):
                return False
            await payloads.delete_chunks(self._client, self._id, [*pruned, *replaced])
            return True

        return _CompactionSnapshot(items, complete, replace_suffix)

    async def _oldest(
        self, unwanted: Callable[[TResponseInputItem], bool], *, before: int, page: int
    ) -> list[Message]:
        """The oldest messages, up to the first that is wanted or at or after the position."""
        found: list[Message] = []
        while True:
            after = found[-1].sequence if found else 0
            messages, items = await self._read(max(1, page), after)
            for message, item in zip(messages, items, strict=True):
                if message.sequence >= before or not unwanted(item):
                    return found
                found.append(message)
            if not messages:
                return found


async def _discard(draft: AsyncDraft) -> None:
    """Ends a draft without a message; if the server cannot be reached, it ends the draft itself."""
    with suppress(SessionsError):
        await draft.discard()


def _shown(items: Sequence[Any]) -> list[dict[str, Any]]:
    return [readable(item, len(items)) for item in items]


def _with_text(text: str, items: Sequence[Any], shown: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The drafts of items that are responses with this text."""
    return [
        fields
        for item, fields in zip(items, shown, strict=True)
        if text and fields.get("role") == "assistant" and _text(item) == text
    ]


def readable(item: Any, count: int) -> dict[str, Any]:
    """What other readers of the history see of one of `count` items."""
    kind = str(item.get("type") or "message")
    role = item.get("role") or _TOOL_ITEMS.get(kind) or "assistant"
    shown = payloads.names(role=role, name=item.get("name"), tool_call_id=item.get("call_id"))
    return {**shown, "content": payloads.readable(_text(item), count)}


def _text(item: Any) -> str:
    """The text of an item, which may consist of parts."""
    found = item.get("content") or item.get("output") or item.get("arguments")
    parts = found if isinstance(found, list) else [{"text": found}]
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


def _item(message: Message, value: bytes) -> Any:
    """A message as an item, including one added by another program."""
    if message.payload_type in {payloads.JSON, payloads.CHUNKED}:
        with suppress(ValueError):
            return payloads.load(value)
    return {"role": message.role, "content": message.content}


if __name__ == "__main__":
    from sessions_client.integrations._openai_agents_import import main

    main()
