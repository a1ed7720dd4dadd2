"""Microsoft Agent Framework's histories and session snapshots, kept by the session service.

    from agent_framework import Agent
    from sessions_client import AsyncClient
    from sessions_client.integrations.agent_framework import SessionsHistoryProvider

    client = AsyncClient("127.0.0.1:50051")
    agent = Agent(chat_client, context_providers=[SessionsHistoryProvider(client=client, user_id="u1")])

A message of the framework becomes a message of the session with its JSON as payload. As in the framework's own
providers, saving a transcript again adds only new messages. A snapshot of an `AgentSession` is a record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from sessions_client.integrations._extras import needs

with needs("agent-framework", __name__):
    from agent_framework import HistoryProvider, Message
    from agent_framework._sessions import filter_new_messages

from sessions_client import (
    Aborted,
    AsyncClient,
    FailedPrecondition,
    Message as StoredMessage,
    NotFound,
    StorageOptions,
    ops,
)
from sessions_client.integrations import _payloads as payloads
from sessions_client.integrations._ids import metadata_of, session_id_of, user_id_of

if TYPE_CHECKING:
    from sessions_client.integrations._agent_framework_snapshots import SessionsSessionStore

__all__ = ["SessionsHistoryProvider", "SessionsSessionStore"]

_EVERYTHING: Final = 2**31 - 1
_ATTEMPTS: Final = 100


class SessionsHistoryProvider(HistoryProvider):
    """The message history of an agent's sessions. `storage_options` is for the sessions that it creates.

    Providers with different `source_id` have separate histories. The other options are those of the framework's own
    providers: what to load, what to store, and whether to skip messages excluded by a compaction.
    """

    DEFAULT_SOURCE_ID: ClassVar[str] = "sessions"

    def __init__(
        self,
        source_id: str = DEFAULT_SOURCE_ID,
        *,
        client: AsyncClient,
        user_id: str = "default",
        load_messages: bool = True,
        store_inputs: bool = True,
        store_context_messages: bool = False,
        store_context_from: set[str] | None = None,
        store_outputs: bool = True,
        skip_excluded: bool = False,
        storage_options: StorageOptions | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            source_id,
            load_messages=load_messages,
            store_inputs=store_inputs,
            store_context_messages=store_context_messages,
            store_context_from=store_context_from,
            store_outputs=store_outputs,
        )
        self.skip_excluded = skip_excluded
        self._client = client
        self._user_id = user_id_of(user_id)
        self._storage_options = storage_options

    async def get_messages(
        self, session_id: str | None, *, state: dict[str, Any] | None = None, **kwargs: Any
    ) -> list[Message]:
        """All messages of the session, oldest first; without an id, of the session `default`."""
        key = session_id_of(self._name(session_id))
        _, messages = await self._read(key, _EVERYTHING)
        if self.skip_excluded:
            return [each for each in messages if not each.additional_properties.get("_excluded", False)]
        return messages

    async def save_messages(
        self,
        session_id: str | None,
        messages: Sequence[Message],
        *,
        state: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Adds the new messages, all or none, and creates the session if needed."""
        name = self._name(session_id)
        key = session_id_of(name)
        for _ in range(_ATTEMPTS):
            # The framework compares at most as many messages as are saved, so the newest ones are enough.
            newest, stored = await self._read(key, len(messages))
            new = filter_new_messages(stored, messages)
            if not new:
                return
            unchanged = ops.if_history_head(newest[-1].sequence if newest else 0)
            create = self._create(name)
            try:
                await self._commit(key, create, new, unchanged)
            except Aborted:
                continue
            return
        raise FailedPrecondition(
            f"Session {name!r} kept changing while its messages were being saved; save them again."
        )

    async def clear(self, session_id: str | None) -> None:
        """Erases all messages of the session."""
        key = session_id_of(self._name(session_id))
        try:
            await self._client.sessions.commit(key, ops.truncate(newest=_EVERYTHING), payloads.deletion(key))
        except NotFound:
            return

    def _name(self, session_id: str | None) -> str:
        """The session with this provider's history."""
        name = session_id or "default"
        if self.source_id == self.DEFAULT_SOURCE_ID:
            return name
        return payloads.dump([self.source_id, name]).decode("utf-8", "surrogatepass")

    def _create(self, name: str) -> ops.NewSession:
        return ops.new_session(
            self._user_id,
            metadata=metadata_of(name),
            storage_options=self._storage_options,
            if_exists="return",
        )

    async def _read(self, key: str, limit: int) -> tuple[Sequence[StoredMessage], list[Message]]:
        """The newest messages as they are stored, and as the framework has them."""

        async def read() -> tuple[Sequence[StoredMessage], list[Message]]:
            stored = await self._history(key, limit)
            return stored, await self._messages(key, stored)

        return await payloads.read_with_parts(read)

    async def _history(self, key: str, limit: int) -> Sequence[StoredMessage]:
        if limit <= 0:
            return []
        try:
            return await payloads.history(self._client, key, limit=limit)
        except NotFound:
            return []

    async def _messages(self, key: str, stored: Sequence[StoredMessage]) -> list[Message]:
        values = await payloads.unpack(self._client, key, stored)
        return [
            Message.from_dict(payloads.load(value)) if message.payload_type else _plain(message)
            for message, value in zip(stored, values, strict=True)
        ]

    async def _commit(
        self, key: str, create: ops.NewSession, messages: Sequence[Message], unchanged: ops.Condition
    ) -> None:
        shown = [_readable(message, len(messages)) for message in messages]
        values = [payloads.dump(message.to_dict()) for message in messages]
        await payloads.commit(self._client, key, values, shown, create=create, conditions=[unchanged])


def _readable(message: Message, count: int) -> dict[str, Any]:
    """What other readers of the history see of one of `count` messages."""
    call = next((each.call_id for each in message.contents if getattr(each, "call_id", None)), None)
    results = (getattr(each, "result", None) for each in message.contents)
    text = message.text or "\n".join(each for each in results if isinstance(each, str))
    shown = payloads.names(role=message.role, name=message.author_name, tool_call_id=call)
    return {"role": "assistant", **shown, "content": payloads.readable(text, count)}


def _plain(message: StoredMessage) -> Message:
    """A message added by another program."""
    return Message(role=message.role or "assistant", contents=[message.content])


def __getattr__(name: str) -> Any:
    # Imported lazily, because the framework warns that the store's base class is experimental.
    if name == "SessionsSessionStore":
        from sessions_client.integrations._agent_framework_snapshots import SessionsSessionStore

        return SessionsSessionStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
