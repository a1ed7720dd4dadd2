"""Watchers of drafts that check everything they receive, and a writer that repeats pieces and leaves gaps.

They use the generated stubs, so joining and resuming pieces does not depend on our client.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import grpc
import grpc.aio

from sessions_proto.v1 import drafts_pb2 as drafts_pb, drafts_pb2_grpc, sessions_pb2 as pb, sessions_pb2_grpc

STREAMS_PER_CHANNEL: Final = 90
RETRY_SECONDS: Final = 0.05


def text_of(number: int, tokens: int) -> str:
    """A unique text of this many tokens, with characters of every width."""
    chance = random.Random(number)
    return "".join(
        chance.choice((f"wort{number} ", "é€ ", "\U0001f600 ", "a\u0000b ")) for _ in range(tokens)
    )


def tokens_of(text: str) -> list[str]:
    return [word + " " for word in text.split(" ")[:-1]]


class Watcher:
    """A subscriber that moves to the next server whenever its stream breaks. `texts` has the messages that the drafts
    become, by id. It reads at most one response per `pause` seconds."""

    def __init__(
        self,
        channels: Sequence[grpc.aio.Channel],
        session_id: str,
        texts: Mapping[str, str],
        *,
        interval: float = 0.05,
        pause: float = 0,
        after: int | None = None,
    ) -> None:
        self._stubs = [sessions_pb2_grpc.SessionServiceStub(channel) for channel in channels]
        self._session_id = session_id
        self._texts = texts
        self._interval = interval
        self._pause = pause
        self._position = after
        self._shown: dict[str, str] = {}
        self.pieces = 0
        self.states: list[tuple[str, int]] = []
        """The drafts reported to have ended without a message."""
        self.messages: dict[str, str] = {}
        self.wrong: list[str] = []
        self.established = asyncio.Event()
        self.news = asyncio.Event()
        """Set whenever something has arrived."""

    async def watch(self) -> None:
        """Runs until cancelled."""
        for number in range(10**9):
            with suppress(grpc.RpcError):
                await self._watch_once(self._stubs[number % len(self._stubs)])
            await asyncio.sleep(RETRY_SECONDS)

    async def see_messages(self, *message_ids: str) -> None:
        await self._until(lambda: all(each in self.messages for each in message_ids))

    async def see_state(self, message_id: str, state: int) -> None:
        await self._until(lambda: (message_id, state) in self.states)

    async def see_text(self, message_id: str, count: int = 1) -> None:
        """Waits until this many characters of it were shown."""
        await self._until(lambda: len(self._shown.get(message_id, "")) >= count)

    async def _until(self, is_met: Any) -> None:
        while not is_met():
            self.news.clear()
            await self.news.wait()

    async def _watch_once(self, stub: Any) -> None:
        request = pb.SubscribeRequest(session_id=self._session_id, include_drafts=True)
        request.draft_interval.FromMicroseconds(int(self._interval * 1e6))
        if self._position is not None:
            request.after_sequence = self._position
        call = stub.Subscribe(request)
        places: dict[str, int] = {}
        try:
            async for response in call:
                self._take(response, places)
                self.news.set()
                if self._pause:
                    await asyncio.sleep(self._pause)
        finally:
            call.cancel()

    def _take(self, response: pb.SubscribeResponse, places: dict[str, int]) -> None:
        if response.HasField("draft"):
            self._take_piece(response.draft, places)
            return
        self._position = max(self._position or 0, response.event.sequence, response.checkpoint.sequence)
        self.established.set()
        if response.event.HasField("message"):
            message = response.event.message
            self.messages[message.id] = message.content
            if self._texts.get(message.id, message.content) != message.content:
                self.wrong.append(f"{message.id}: its message is another text")

    def _take_piece(self, piece: pb.Draft, places: dict[str, int]) -> None:
        message_id, start = piece.message_id, getattr(piece, "from")
        self.pieces += 1
        if message_id in self.messages:
            self.wrong.append(f"{message_id}: a piece after its message")
        if piece.state != pb.DRAFT_STATE_WRITING:
            self.states.append((message_id, piece.state))
            places.pop(message_id, None)
            return
        if start and start != places.get(message_id):
            self.wrong.append(f"{message_id}: a piece at {start} after {places.get(message_id)}")
        places[message_id] = piece.to
        self._shown[message_id] = piece.text if not start else self._shown[message_id] + piece.text
        if not self._texts[message_id].startswith(self._shown[message_id]):
            self.wrong.append(f"{message_id}: its text is no beginning of the message")


class RawWriter:
    """Writes a draft token by token, repeats some pieces, and sends some that leave a gap."""

    def __init__(self, channel: grpc.aio.Channel, session_id: str, message_id: str, text: str) -> None:
        self._stub: Any = drafts_pb2_grpc.DraftServiceStub(channel)
        self._ids: dict[str, Any] = {"session_id": session_id, "message_id": message_id}
        self._text = text
        self._chance = random.Random(message_id)

    async def write(self, *, per_second: float) -> None:
        position, sent = 0, ""
        for token in tokens_of(self._text):
            after = await self._piece(position, token)
            assert after > position
            if self._chance.random() < 0.2:
                assert await self._piece(position, token) == after
            if self._chance.random() < 0.1:
                assert await self._piece(after + 7, "never written") == after
            if self._chance.random() < 0.1:
                assert await self._piece(0, sent + token) == after
            position, sent = after, sent + token
            await asyncio.sleep(1 / per_second)

    async def commit(self) -> str:
        response = await self._stub.CommitDraft(drafts_pb.CommitDraftRequest(**self._ids))
        content: str = response.message.content
        return content

    async def _piece(self, position: int, text: str) -> int:
        request = drafts_pb.WriteDraftRequest(**self._ids, role="assistant", position=position, text=text)
        response = await self._stub.WriteDraft(request)
        reached: int = response.position
        return reached


def channels_for(addresses: Sequence[str], streams: int) -> Iterator[list[grpc.aio.Channel]]:
    """Channels to all addresses, for each group of streams that share them."""
    for _ in range(0, streams, STREAMS_PER_CHANNEL):
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 100))
        yield [grpc.aio.insecure_channel(address, options=options) for address in addresses]
