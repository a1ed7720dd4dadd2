"""Of two writers that saw the same history exactly one can append to it, on whichever server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sessions_server.domain.commit import Commit, Committed
from sessions_server.domain.errors import EtagMismatch
from sessions_server.domain.models import MessageBody, MessageDraft, Sequence
from sessions_server.domain.operations import Append, HistoryHead
from sessions_server.log.writer import Writer
from tests.conformance.harness import KEY, create
from tests.support.amounts import amount

if TYPE_CHECKING:
    from sessions_server.storage.store import Store
    from tests.conformance.conftest import Opener

ROUNDS = amount("ROUNDS", 40)


@asynccontextmanager
async def writing(store: Store) -> AsyncIterator[Writer]:
    writer = Writer(store, announce=lambda _: None)
    task = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        writer.close()
        await task


async def test_exactly_one_of_two_writers_with_the_same_head_wins(lasting_url: str, opener: Opener) -> None:
    replicas = 1 if lasting_url.startswith("sqlite") else 2  # a SQLite file has only one process
    stores = [opener(lasting_url) for _ in range(replicas)]
    for store in stores:
        await store.start()
    async with writing(stores[0]) as first, writing(stores[-1]) as second:
        await first.submit(create())
        head = Sequence(0)
        for number in range(ROUNDS):
            outcomes = await asyncio.gather(
                *(
                    writer.submit(append(f"{number}-{name}", head))
                    for name, writer in (("a", first), ("b", second))
                ),
                return_exceptions=True,
            )
            won = [outcome for outcome in outcomes if isinstance(outcome, Committed)]
            lost = [outcome for outcome in outcomes if isinstance(outcome, EtagMismatch)]
            assert (len(won), len(lost)) == (1, 1)
            head = won[0].messages()[0].sequence
            assert lost[0].metadata == {"current_sequence": str(head)}
    assert (await stores[0].session(KEY)).message_count == ROUNDS
    for store in stores:
        await store.close()


def append(text: str, head: Sequence) -> Commit:
    draft = MessageDraft(text, MessageBody("user", text))
    return Commit(key=KEY, conditions=(HistoryHead(head),), operations=(Append(draft),))
