"""LangGraph's checkpoints and stores, kept by the session service.

    from sessions_client import AsyncClient
    from sessions_client.integrations.langgraph import AsyncSessionsSaver

    client = AsyncClient("127.0.0.1:50051")
    graph = builder.compile(checkpointer=AsyncSessionsSaver(client))

A thread is a session; its id can be any string. A checkpoint is a record of the session: channels that did not change
since an earlier checkpoint are neither stored nor sent again. Items of a store are records of the tenant.
"""

from __future__ import annotations

import asyncio
import random
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sessions_client.integrations._extras import needs

with needs("langgraph", __name__):
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.store.base import BaseStore

from sessions_client import AsyncClient, Client, StorageOptions, ops
from sessions_client.integrations import _langgraph_deltas as deltas, _langgraph_threads as threads
from sessions_client.integrations._ids import metadata_of
from sessions_client.integrations._langgraph_checkpoints import Threads
from sessions_client.integrations._langgraph_items import batch
from sessions_client.integrations._steps import OwnLoop, T, run, run_async

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import (
        ChannelVersions,
        Checkpoint,
        CheckpointMetadata,
        CheckpointTuple,
        DeltaChannelHistory,
    )
    from langgraph.checkpoint.serde.base import SerializerProtocol
    from langgraph.store.base import Op, Result, TTLConfig

    from sessions_client.integrations._steps import Steps


class _Saver(BaseCheckpointSaver[str]):
    """The methods, which both savers have."""

    def __init__(
        self,
        *,
        serde: SerializerProtocol | None,
        storage_options: StorageOptions | Mapping[str, Any] | None,
    ) -> None:
        super().__init__(serde=serde)
        self._storage_options = storage_options

    @property
    def _threads(self) -> Threads:
        """Created at each use, since `with_allowlist` gives a copy of the saver another `serde`."""
        return Threads(self.serde, self._create)

    def _create(self, thread_id: str) -> ops.NewSession:
        return ops.new_session(
            "default",
            metadata=metadata_of(thread_id),
            storage_options=self._storage_options,
            if_exists="return",
        )

    def get_next_version(self, current: str | int | None, channel: None) -> str:
        """A version after `current`; no two branches have the same version."""
        number = current if isinstance(current, int) else int(str(current or 0).split(".")[0])
        return f"{number + 1:032}.{random.random():016}"

    @abstractmethod
    def _run(self, steps: Steps[T]) -> T:
        """Runs steps for a synchronous method."""

    @abstractmethod
    async def _run_async(self, steps: Steps[T]) -> T:
        """Runs steps for an asynchronous method."""

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint named by the config, or the newest one of its thread and namespace."""
        return self._run(self._threads.get_tuple(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """The checkpoints of a thread, or of all, newest first."""
        names = self._run(threads.names_of(config, filter, before))
        count = 0
        while names and (limit is None or count < limit):
            size = threads.PAGE if limit is None else min(threads.PAGE, limit - count)
            page, names = names[:size], names[size:]
            for found in self._run(threads.page_of(self._threads, page)):
                if threads.fits(found, filter) and (limit is None or count < limit):
                    count += 1
                    yield found

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Stores a checkpoint and returns its config."""
        return self._run(self._threads.put(config, checkpoint, metadata, new_versions))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Stores what a task wrote, pending until the next checkpoint."""
        self._run(self._threads.put_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        """Deletes a thread permanently, with its session."""
        self._run(threads.delete_thread(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Deletes the checkpoints of these runs in all threads permanently."""
        self._run(threads.delete_for_runs(run_ids))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copies all checkpoints and writes of a thread to another."""
        self._run(threads.copy_thread(source_thread_id, target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Deletes all checkpoints of threads (`delete`), or all except the newest of each namespace and the ancestors
        from which its delta channels are rebuilt (`keep_latest`)."""
        self._run(threads.prune(self._threads, thread_ids, strategy))

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """The writes that delta channels are rebuilt from, oldest first, and the values before them."""
        return self._run(deltas.history(self._threads, config, channels))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint named by the config, or the newest one of its thread and namespace."""
        return await self._run_async(self._threads.get_tuple(config))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """The checkpoints of a thread, or of all, newest first."""
        names = await self._run_async(threads.names_of(config, filter, before))
        count = 0
        while names and (limit is None or count < limit):
            size = threads.PAGE if limit is None else min(threads.PAGE, limit - count)
            page, names = names[:size], names[size:]
            for found in await self._run_async(threads.page_of(self._threads, page)):
                if threads.fits(found, filter) and (limit is None or count < limit):
                    count += 1
                    yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Stores a checkpoint and returns its config."""
        return await self._run_async(self._threads.put(config, checkpoint, metadata, new_versions))

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Stores what a task wrote, pending until the next checkpoint."""
        await self._run_async(self._threads.put_writes(config, writes, task_id, task_path))

    async def adelete_thread(self, thread_id: str) -> None:
        """Deletes a thread permanently, with its session."""
        await self._run_async(threads.delete_thread(thread_id))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Deletes the checkpoints of these runs in all threads permanently."""
        await self._run_async(threads.delete_for_runs(run_ids))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copies all checkpoints and writes of a thread to another."""
        await self._run_async(threads.copy_thread(source_thread_id, target_thread_id))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Deletes all checkpoints of threads (`delete`), or all except the newest of each namespace and the ancestors
        from which its delta channels are rebuilt (`keep_latest`)."""
        await self._run_async(threads.prune(self._threads, thread_ids, strategy))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """The writes that delta channels are rebuilt from, oldest first, and the values before them."""
        return await self._run_async(deltas.history(self._threads, config, channels))


class SessionsSaver(_Saver):
    """A checkpointer on a synchronous client. `storage_options` is for the sessions that it creates.

    Its asynchronous methods call the client in a thread."""

    def __init__(
        self,
        client: Client,
        *,
        serde: SerializerProtocol | None = None,
        storage_options: StorageOptions | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(serde=serde, storage_options=storage_options)
        self._client = client

    def _run(self, steps: Steps[T]) -> T:
        return run(self._client, steps)

    async def _run_async(self, steps: Steps[T]) -> T:
        return await asyncio.to_thread(self._run, steps)


class AsyncSessionsSaver(_Saver):
    """A checkpointer on an asynchronous client. `storage_options` is for the sessions that it creates.

    Its synchronous methods are for threads without an event loop, such as those of a graph's synchronous nodes."""

    def __init__(
        self,
        client: AsyncClient,
        *,
        serde: SerializerProtocol | None = None,
        storage_options: StorageOptions | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(serde=serde, storage_options=storage_options)
        self._client = client
        self._loop = OwnLoop()

    def _run(self, steps: Steps[T]) -> T:
        return self._loop.wait(run_async(self._client, steps))

    async def _run_async(self, steps: Steps[T]) -> T:
        self._loop.remember()
        return await run_async(self._client, steps)


def _refreshes(config: TTLConfig | None) -> bool:
    """Whether reads may restart lifetimes."""
    return bool(config and config.get("refresh_on_read"))


class SessionsStore(BaseStore):
    """A store on a synchronous client. `ttl` has the store's defaults, in minutes, as in LangGraph's own stores.

    There is no semantic search: a search's `query` is ignored.
    """

    supports_ttl = True

    def __init__(self, client: Client, *, ttl: TTLConfig | None = None) -> None:
        self.ttl_config = ttl
        self._client = client

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """The result of each operation: all reads are done first, then all writes at once."""
        return run(self._client, batch(list(ops), refreshes=_refreshes(self.ttl_config)))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """The same as `batch`, in a thread."""
        return await asyncio.to_thread(self.batch, list(ops))


class AsyncSessionsStore(BaseStore):
    """A store on an asynchronous client. `ttl` has the store's defaults, in minutes, as in LangGraph's own stores.

    There is no semantic search: a search's `query` is ignored.
    """

    supports_ttl = True

    def __init__(self, client: AsyncClient, *, ttl: TTLConfig | None = None) -> None:
        self.ttl_config = ttl
        self._client = client
        self._loop = OwnLoop()

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """The same as `abatch`, for threads without an event loop."""
        return self._loop.wait(self.abatch(ops))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """The result of each operation: all reads are done first, then all writes at once."""
        self._loop.remember()
        return await run_async(self._client, batch(list(ops), refreshes=_refreshes(self.ttl_config)))


if __name__ == "__main__":
    from sessions_client.integrations._langgraph_import import main

    main()
