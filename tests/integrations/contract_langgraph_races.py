"""What else happens while a checkpoint is being stored: kills, prunes, and other writers."""

from __future__ import annotations

import asyncio
import os
import uuid
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from sessions_client import AsyncClient, Client, RecordName, Scope, ops
from sessions_client.integrations.langgraph import AsyncSessionsSaver, SessionsSaver
from tests.integrations.checkpoints import place, put

ADDRESS = os.environ["SESSIONS_TEST_ADDRESS"]


class Died(BaseException):
    """The end of a caller's process."""


def test_a_caller_that_dies_before_its_last_commit_has_stored_no_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thread = str(uuid.uuid4())
    big = {"one": "x" * 2_500_000, "two": "y" * 2_500_000}
    with Client(ADDRESS) as client:
        saver = SessionsSaver(client)
        newest = put(saver, place(thread), {"old": 1})
        commit = type(client.sessions).commit

        def dies(*arguments: Any, **named: Any) -> Any:
            commit(*arguments, **named)
            raise Died

        monkeypatch.setattr(type(client.sessions), "commit", dies)
        with pytest.raises(Died):
            put(saver, newest, big)
        monkeypatch.undo()
        found = saver.get_tuple(place(thread))
        assert found is not None
        assert found.config == newest
        put(saver, newest, big)
        found = saver.get_tuple(place(thread))
    assert found is not None
    assert found.checkpoint["channel_values"] == big


@pytest.mark.parametrize("count", [2, 700])
def test_values_pruned_before_their_checkpoint_is_stored_are_written_again(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    thread = str(uuid.uuid4())
    big = {f"{number:03}": f"{number:03}" * (1_400_000 // count) for number in range(count)}
    with Client(ADDRESS) as client:
        saver = SessionsSaver(client)
        newest = put(saver, put(saver, place(thread), {}), {})
        commit, calls = type(client.sessions).commit, iter(range(100))

        def interrupted(self: Any, session_id: str, *operations: Any, **more: Any) -> Any:
            found = commit(self, session_id, *operations, **more)
            call = next(calls)
            if call == 0:
                saver.prune([thread])
            if call == 2 and count > 100:  # Written again, of which as many as a commit has conditions stay.
                gone = [each._wire.put.record.name.key for each in operations[100:]]
                place_of_values = Scope(session_id=thread), ("langgraph", "blobs")
                commit(self, thread, *(ops.delete(RecordName(*place_of_values, key)) for key in gone))
            return found

        monkeypatch.setattr(type(client.sessions), "commit", interrupted)
        put(saver, newest, big)
        found = saver.get_tuple(place(thread))
    assert found is not None
    assert found.checkpoint["channel_values"] == big


async def test_all_readers_see_the_first_of_racing_writes_of_a_task() -> None:
    async with AsyncClient(ADDRESS) as client:
        saver = AsyncSessionsSaver(client)
        checkpoint: Any = empty_checkpoint()
        metadata: Any = {"source": "loop", "step": 0, "parents": {}}
        config = await saver.aput(place(str(uuid.uuid4())), checkpoint, metadata, {})
        seen = set()

        async def write(number: int) -> None:
            await saver.aput_writes(config, [("a", number), ("b", number)], "task")
            found = await saver.aget_tuple(config)
            assert found is not None
            seen.add(tuple(value for _, _, value in found.pending_writes or ()))

        await asyncio.gather(*map(write, range(16)))
        assert len(seen) == 1
        assert len(set(seen.pop())) == 1
