"""What LangGraph rebuilds delta channels from: the writes of a checkpoint's ancestors, back to a stored value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import CheckpointTuple, DeltaChannelHistory

    from sessions_client.integrations._langgraph_checkpoints import Threads
    from sessions_client.integrations._steps import Steps


def history(
    threads: Threads, config: RunnableConfig, channels: Sequence[str]
) -> Steps[Mapping[str, DeltaChannelHistory]]:
    """The writes to each channel, oldest first, and its value before them.

    LangGraph's default does the same, but without end if a checkpoint was put again as a child of its descendant.
    """
    path = yield from _ancestors(threads, config, channels)
    found: dict[str, DeltaChannelHistory] = {}
    for name in channels:
        seeded = [index for index, each in enumerate(path) if name in each.checkpoint["channel_values"]]
        used = path[: seeded[0] + 1] if seeded else path
        writes = [each for one in reversed(used) for each in one.pending_writes or () if each[1] == name]
        found[name] = {"writes": writes}
        if seeded:
            found[name]["seed"] = used[-1].checkpoint["channel_values"][name]
    return found


def _ancestors(
    threads: Threads, config: RunnableConfig, channels: Sequence[str]
) -> Steps[list[CheckpointTuple]]:
    """The ancestors of a checkpoint, nearest first, until each channel has a stored value."""
    path: list[CheckpointTuple] = []
    missing, seen = set(channels), set[str]()
    child = (yield from threads.get_tuple(config)) if missing else None
    while child is not None and missing:
        seen.add(child.config["configurable"]["checkpoint_id"])
        parent = child.parent_config
        if parent is None or parent["configurable"]["checkpoint_id"] in seen:
            break
        child = yield from threads.get_tuple(parent)
        if child is not None:
            path.append(child)
            missing -= child.checkpoint["channel_values"].keys()
    return path
