"""Checkpoints for the tests of savers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import empty_checkpoint

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver


def place(thread_id: str, namespace: str = "", checkpoint_id: str | None = None) -> Any:
    found = {"thread_id": thread_id, "checkpoint_ns": namespace}
    return {"configurable": found if checkpoint_id is None else {**found, "checkpoint_id": checkpoint_id}}


def put(saver: BaseCheckpointSaver[str], config: Any, values: dict[str, Any], **metadata: Any) -> Any:
    """Stores a checkpoint in which every channel is new."""
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = values
    checkpoint["channel_versions"] = {name: saver.get_next_version(None, None) for name in values}
    whole: Any = {"source": "loop", "step": 0, "parents": {}, **metadata}
    return saver.put(config, checkpoint, whole, checkpoint["channel_versions"])


def everything(saver: BaseCheckpointSaver[str], thread_id: str) -> list[Any]:
    return [
        (found.checkpoint, found.metadata, found.parent_config, found.pending_writes)
        for found in saver.list({"configurable": {"thread_id": thread_id}})
    ]
