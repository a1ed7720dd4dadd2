"""Open streams: their limits, and the reason that each receives when it is ended."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from sessions_proto.v1 import commits_pb2, records_pb2, sessions_pb2 as pb
from sessions_server.domain.errors import ShuttingDown, StreamAged, TooManyStreams, Unauthenticated
from sessions_server.domain.ports import Caller
from sessions_server.rpc.methods import STREAMS
from sessions_server.rpc.quotas import Bounds
from sessions_server.rpc.streams import Recheck, StreamKind, Streams
from tests.unit.rpc.serving import STREAM_BOUNDS

ANN, BEN = Caller("acme", subject="ann"), Caller("acme", subject="ben")


def holds() -> None:
    """A valid credential."""


def ended() -> None:
    raise Unauthenticated("The credential has ended.")


class Held:
    """A stream that waits until it is ended."""

    def __init__(
        self,
        streams: Streams,
        caller: Caller = ANN,
        recheck: Recheck = holds,
        *,
        kind: StreamKind = StreamKind.SUBSCRIPTION,
        **options: Any,
    ) -> None:
        self._opened = asyncio.Event()
        self._streams = streams
        self.task = asyncio.create_task(self._run(caller, recheck, {"kind": kind, **options}))

    async def _run(self, caller: Caller, recheck: Recheck, options: dict[str, Any]) -> None:
        with self._streams.open(caller, recheck, **options):
            self._opened.set()
            await asyncio.Event().wait()

    async def opened(self) -> Held:
        await self._opened.wait()
        return self


@contextmanager
def opened(streams: Streams, *callers: Caller) -> Iterator[None]:
    with ExitStack() as stack:
        for caller in callers:
            stack.enter_context(streams.open(caller, holds, kind=StreamKind.SUBSCRIPTION))
        yield


async def test_the_streams_of_a_credential_are_bounded() -> None:
    streams = Streams(STREAM_BOUNDS._replace(subscriptions=Bounds(in_all=10, per_caller=2)))
    with opened(streams, ANN, ANN, BEN):
        with pytest.raises(TooManyStreams), opened(streams, ANN):
            pass
        with opened(streams, BEN):
            assert len(streams) == 4


async def test_the_streams_of_the_server_are_bounded() -> None:
    streams = Streams(STREAM_BOUNDS._replace(subscriptions=Bounds(in_all=2, per_caller=2)))
    with opened(streams, ANN, BEN), pytest.raises(TooManyStreams), opened(streams, BEN):
        pass


async def test_a_stream_that_ends_makes_room_for_another() -> None:
    streams = Streams(STREAM_BOUNDS._replace(subscriptions=Bounds(in_all=1, per_caller=1)))
    for _ in range(3):
        with opened(streams, ANN):
            pass
    assert len(streams) == 0


async def test_at_shutdown_every_stream_learns_that_the_server_stops() -> None:
    streams = Streams(STREAM_BOUNDS)
    held = [await Held(streams, caller).opened() for caller in (ANN, BEN)]
    streams.end_all()
    outcomes = await asyncio.gather(*(each.task for each in held), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ShuttingDown, ShuttingDown]
    assert len(streams) == 0


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        (StreamKind.SUBSCRIPTION, "continue from the last sequence received"),
        (StreamKind.COMMITS, "send each commit that has no outcome again, with the same request id"),
        (StreamKind.TRANSFER, "start the import or export again"),
        (StreamKind.OTHER, "open the stream again"),
    ],
)
async def test_each_kind_of_stream_is_told_how_to_go_on(kind: StreamKind, advice: str) -> None:
    streams = Streams(STREAM_BOUNDS)
    held = await Held(streams, kind=kind).opened()
    streams.end_all()
    with pytest.raises(ShuttingDown, match=rf"^The server is stopping; {advice}\.$"):
        await held.task


def test_every_method_with_a_stream_has_a_kind() -> None:
    services = [
        service
        for module in (commits_pb2, records_pb2, pb)
        for service in module.DESCRIPTOR.services_by_name.values()
    ]
    streaming = {
        method.name
        for service in services
        for method in service.methods
        if method.client_streaming or method.server_streaming
    }
    assert streaming == STREAMS.keys()


async def test_a_stream_outlives_its_credential_only_until_the_next_check() -> None:
    streams = Streams(STREAM_BOUNDS)
    good, bad = await Held(streams).opened(), await Held(streams, recheck=ended).opened()
    streams.recheck()
    with pytest.raises(Unauthenticated):
        await bad.task
    assert not good.task.done()
    good.task.cancel()


async def test_credentials_are_checked_periodically() -> None:
    streams = Streams(STREAM_BOUNDS, recheck_seconds=0)
    watching = asyncio.create_task(streams.run())
    with pytest.raises(Unauthenticated):
        await Held(streams, recheck=ended).task
    watching.cancel()


async def test_a_stream_whose_caller_cancels_is_simply_cancelled() -> None:
    streams = Streams(STREAM_BOUNDS)
    held = await Held(streams).opened()
    held.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await held.task
    assert len(streams) == 0


async def test_a_stream_reports_the_first_reason_for_its_end() -> None:
    streams = Streams(STREAM_BOUNDS)
    held = await Held(streams, recheck=ended).opened()
    streams.recheck()
    streams.end_all()
    with pytest.raises(Unauthenticated):
        await held.task


async def test_a_stream_at_its_maximum_age_is_told_to_reconnect() -> None:
    streams = Streams(STREAM_BOUNDS, longest_seconds=0)
    held = await Held(streams).opened()
    transfer = await Held(streams, kind=StreamKind.TRANSFER).opened()
    with pytest.raises(StreamAged, match="continue from the last sequence"):
        await held.task
    assert not transfer.task.done()
    streams.end_all()
    with pytest.raises(ShuttingDown):
        await transfer.task
    young = Streams(STREAM_BOUNDS)
    held = await Held(young).opened()
    await asyncio.sleep(0)
    assert not held.task.done()
    young.end_all()
    with pytest.raises(ShuttingDown):
        await held.task


async def test_streams_that_started_together_do_not_expire_together(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    monkeypatch.setattr(loop, "time", lambda: began)
    streams = Streams(STREAM_BOUNDS, longest_seconds=1)
    with opened(streams, *[ANN] * 200):
        timers = sorted(timer.when() - began for timer in loop._scheduled)[-200:]  # type: ignore[attr-defined]  # no public name
    assert 0.7 < timers[0] < timers[-1] <= 1
    assert max(late - soon for soon, late in itertools.pairwise(timers)) < 0.05


async def test_a_stream_ends_with_its_credential() -> None:
    streams = Streams(STREAM_BOUNDS, recheck_seconds=3600)
    held = await Held(streams, recheck=ended, expires_in=0.0).opened()
    lasting = await Held(streams, recheck=ended, expires_in=3600.0).opened()
    transfer = await Held(streams, recheck=ended, expires_in=0.0, kind=StreamKind.TRANSFER).opened()
    for stream in (held, transfer):
        with pytest.raises(Unauthenticated):
            await stream.task
    assert not lasting.task.done()
    lasting.task.cancel()
