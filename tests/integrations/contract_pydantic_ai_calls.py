"""The calls of `SessionsConversationStore` match its docs page."""

from __future__ import annotations

import os
import uuid
from typing import Any

from pydantic_ai.conversation import Conversation
from pydantic_ai.messages import ModelRequest, UserPromptPart

from sessions_client import AsyncClient
from sessions_client.integrations.pydantic_ai import SessionsConversationStore
from tests.integrations.calls import documented, measured


class Recorder(SessionsConversationStore):
    """Records what the framework's `save` asks a store to write."""

    asked: tuple[Any, dict[str, Any]]

    async def write_record(self, record: Any, **more: Any) -> None:
        self.asked = record, more


async def test_each_method_makes_the_calls_that_the_page_lists() -> None:
    name = str(uuid.uuid4())
    messages: list[Any] = [ModelRequest(parts=[UserPromptPart(content=str(number))]) for number in range(5)]
    conversation = Conversation(conversation_id=name, messages=messages)
    async with AsyncClient(os.environ["SESSIONS_TEST_ADDRESS"]) as client:
        store, recorder = SessionsConversationStore(client), Recorder(client)
        await recorder.save(conversation, scope=name)
        asked, more = recorder.asked
        found = await measured({"write_record": lambda: store.write_record(asked, **more)})
        record = await store.read_record(name)
        assert record is not None
        assert record.head_id is not None
        head, revision = record.head_id, record.revision
        found |= await measured(
            {
                "read_record": lambda: store.read_record(name),
                "read_records": lambda: store.read_records(scope=name),
                "read_entry": lambda: store.read_entry(head),
                "read_history": lambda: store.read_history(head),
                "delete_record": lambda: store.delete_record(name, expected_revision=revision),
            }
        )
    assert found == documented("pydantic-ai")
