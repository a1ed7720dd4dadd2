"""The live log of one session, across broken streams.

Every event is delivered once and in order: the cursor moves only after an event was delivered, and every new stream
starts at the cursor.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, cast

from sessions_client._async import _backend
from sessions_client._convert._events import Checkpoint
from sessions_client._deadline import Deadline
from sessions_client._drafts import DraftUpdate
from sessions_client._errors import SessionsError, Unavailable
from sessions_client._events import Event
from sessions_client._follow import (
    Cursor,
    Item,
    Item_co,
    Quiet,
    StreamState,
    StreamStatus,
    max_silence_of,
    no_event,
)
from sessions_client._models import Span
from sessions_client._retry import Attempts, delay_before_new_stream, seconds_of

if TYPE_CHECKING:
    from types import TracebackType

    from sessions_client._async._caller import AsyncCaller
    from sessions_client._options import Metadata

logger = logging.getLogger("sessions_client")


class AsyncSubscription(_backend.Startable["AsyncSubscription[Item_co]"], Generic[Item_co]):
    """The events of one session, as they are committed.

    Without a callback, iterate over it or call `next`. With a callback, events are delivered to it in the background,
    one at a time and in order.

    A broken stream is opened again, with growing pauses, for as long as it takes, and continues after the last
    delivered event. The iteration ends after a `deleted` event, at `until` or after `close()`, and raises `OutOfRange`
    if undelivered events are no longer kept. A cancelled read loses nothing.

    If the callback raises, the error is logged to the logger `sessions_client`, no more events are delivered, and
    `wait()`, `close()` or leaving the `with` block raises the error. Errors of the subscription itself are raised in
    the same places.
    """

    def __init__(
        self,
        caller: AsyncCaller,
        cursor: Cursor,
        *,
        callback: Callable[[Any], object] | None,
        on_connection: Callable[[StreamStatus], object] | None,
        timeout: Span | None,
    ) -> None:
        self._caller = caller
        self._cursor = cursor
        self._callback = callback
        self._on_connection = on_connection
        self._timeout = timeout
        self._process = os.getpid()
        self._touched = False
        self._started = False
        self._turn = threading.Lock()
        self._reader: object = None
        """The current reader."""
        self._stop = _backend.Signal()
        self._stream: _backend.Stream | None = None
        self._connection = StreamStatus(state=StreamState.CONNECTING, since=datetime.now(UTC))
        self._failures = 0
        self._pause = Deadline(0)
        """No new stream is opened before its end."""
        self._worker: _backend.Worker | None = None
        self._failure: BaseException | None = None

    @property
    def position(self) -> int | None:
        """The sequence up to which everything was delivered: pass it as `after_sequence`, with `log_id`, to
        continue."""
        return self._cursor.position

    @property
    def log_id(self) -> str | None:
        """The identity of the log that the position belongs to. Together they identify one event."""
        return self._cursor.log_id

    @property
    def connection(self) -> StreamStatus:
        """The state of the connection, and since when."""
        return self._connection

    @property
    def closed(self) -> bool:
        """Whether it has ended: by `close()`, at `until`, by the session's deletion or by an error."""
        return self._stop.is_set()

    async def next(self, *, timeout: Span | None = None) -> Item_co | None:
        """Returns the next event; None at the end. Raises DeadlineExceeded if none arrived within the timeout; no event
        is lost."""
        return await self._take(None if timeout is None else Deadline(seconds_of(timeout, name="timeout")))

    async def wait(self) -> None:
        """Waits until delivery to the callback has ended. Raises the error that ended it; the session's deletion and
        `close()` are not errors."""
        if self._callback is None:
            raise RuntimeError("This subscription has no callback to wait for; iterate it.")
        await self._establish()
        if self._worker is not None:
            if self._worker.is_current():
                raise RuntimeError("A callback cannot wait for its own subscription; close it there instead.")
            await self._worker.join()
        self._raise_failure()

    async def close(self) -> None:
        """Ends the subscription. Waits for a running callback, unless called from a callback, and raises what the
        callback raised."""
        await self._shut()
        self._raise_failure()

    async def __aenter__(self) -> Self:
        await self._establish()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._shut()
        # An exception from the block takes precedence; the callback's error was logged.
        if exc is None:
            self._raise_failure()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item_co:
        event = await self._take(None)
        if event is None:
            raise StopAsyncIteration
        return event

    def __del__(self) -> None:
        if self._callback is not None and not self._touched and not self._stop.is_set():
            warnings.warn(
                "A subscription with a callback was never awaited nor entered.", RuntimeWarning, stacklevel=2
            )

    def __reduce__(self) -> NoReturn:
        raise TypeError("A subscription cannot be pickled; subscribe in the other process, after `position`.")

    async def _take(self, wait: Deadline | None) -> Item_co | None:
        """Returns the next event, which then counts as delivered; None at the end."""
        if self._callback is not None:
            raise RuntimeError(
                "The events of this subscription go to its callback; subscribe without one to iterate."
            )
        await self._establish()
        reader, passed, position = object(), False, self._cursor.position
        try:
            self._take_turn(reader)
            event = await self._next(wait)
            if event is not None:
                position, passed = self._cursor.position, True
                self._pass(event)
            return cast("Item_co | None", event)
        except BaseException:
            # A signal handler may raise anywhere. The interrupted event is delivered again, on a new stream.
            if passed:
                self._drop()
                self._cursor.go_back(position)
            raise
        finally:
            if self._reader is reader:
                self._reader = None

    async def _start(self) -> AsyncSubscription[Item_co]:
        await self._establish()
        return self

    async def _establish(self) -> None:
        self._check_process()
        self._touched = True
        if self._started:
            return
        reader = object()
        try:
            self._take_turn(reader)
            await self._begin()
        finally:
            if self._reader is reader:
                self._reader = None

    async def _begin(self) -> None:
        if self._stop.is_set():
            raise RuntimeError("This subscription could not be established; subscribe again.")
        self._caller.register(self)
        first = await self._receive(self._caller.attempts(self._caller.deadline(self._timeout)), None)
        if first is None:
            self._caller.check_open()
        elif isinstance(first, Checkpoint):
            self._pass(first)
        self._started = True
        if self._callback is not None and not self._stop.is_set():
            deliver = functools.partial(self._deliver, self._callback)
            self._worker = _backend.Worker(deliver, name=f"sessions-subscription-{self._cursor.session_id}")

    def _take_turn(self, reader: object) -> None:
        """Two concurrent readers would take each other's events and break the order."""
        with self._turn:
            if self._reader is None:
                self._reader = reader
        if self._reader is not reader:
            raise RuntimeError(
                "This subscription is being read already; subscribe once more for a second reader."
            )

    async def _deliver(self, callback: Callable[[Any], object]) -> None:
        runner = _backend.CallbackRunner(callback)
        try:
            while (event := await self._next(None)) is not None:
                await runner.hand_over(event)
                self._pass(event)
        except BaseException as exc:
            # BaseException too, since nobody would notice an error in the background.
            if _backend.is_interruption(exc):
                raise
            self._failure = exc
            logger.exception(
                "The subscription to session %s has ended with an error.", self._cursor.session_id
            )
        finally:
            self._end()
            runner.close()

    async def _next(self, wait: Deadline | None) -> Item | None:
        """The next undelivered event, or the next piece of a draft; None at the end."""
        while not self._cursor.at_end:
            item = await self._receive(None, wait)
            if item is None:
                return None
            if isinstance(item, Event) and self._cursor.is_beyond(item):
                break
            if isinstance(item, DraftUpdate) or (isinstance(item, Event) and self._cursor.is_new(item)):
                return item
            self._pass(item)
        self._end()
        return None

    async def _receive(self, opening: Attempts | None, wait: Deadline | None) -> Item | Checkpoint | None:
        """The next item of the stream, which is opened again if needed. Returns the same item until it is passed; None
        at the end. `opening` is given until the subscription is established; `wait` is how long the caller waits."""
        while not self._stop.is_set():
            if self._stream is None:
                await self._wait_out_pause(wait)
            max_silence = max_silence_of(opening)
            try:
                stream = self._stream or self._open()
                if self._stop.is_set():
                    # Closed concurrently while the stream was being opened.
                    break
                response = await stream.read(
                    max_silence=max_silence, wait=None if wait is None else wait.remaining()
                )
            except SessionsError as error:
                self._drop()
                await self._schedule_reopen(error, opening, max_silence)
                continue
            if isinstance(response, Quiet):
                raise no_event()
            self._mark_alive()
            if response is None:
                self._end()
            elif (item := self._cursor.read(response)) is not None:
                return item
            else:
                stream.take()
        self._drop()
        return None

    def _pass(self, item: Item | Checkpoint) -> None:
        """Marks the item as delivered."""
        if isinstance(item, Event):
            self._cursor.pass_event(item)
        elif isinstance(item, Checkpoint):
            self._cursor.pass_checkpoint(item)
        if self._stream is not None:
            self._stream.take()

    async def _wait_out_pause(self, wait: Deadline | None) -> None:
        """Waits until the next stream may be opened, but no longer than the caller's limit."""
        while (pause := self._pause.remaining()) and not self._stop.is_set():
            left = pause if wait is None else wait.remaining()
            if not left:
                raise no_event()
            await self._stop.wait(min(pause, left))

    def _open(self) -> _backend.Stream:
        caller, metadata = self._caller, self._metadata()
        with caller.connection.in_use():
            place = caller.connection.place()
            call = place.stubs.sessions.Subscribe(self._cursor.request(), metadata=metadata)
            self._cursor.drafts.clear()
            self._stream = _backend.Stream(call, place)
        return self._stream

    def _metadata(self) -> Metadata:
        """The call metadata, with a new token. Once the subscription is established, a failing token source is treated
        like a broken stream."""
        try:
            return self._caller.metadata()
        except Exception as exc:
            if not self._started or isinstance(exc, SessionsError):
                raise
            logger.warning("The token for the stream of session %s failed: %r", self._cursor.session_id, exc)
            raise Unavailable("The token function failed; see the error that it raised.") from exc

    async def _schedule_reopen(self, error: SessionsError, opening: Attempts | None, had: float) -> None:
        """Schedules the next stream. Raises the error instead if it is final."""
        if self._stop.is_set():
            return
        if opening is not None:
            try:
                delay: float | None = await self._caller.delay_after(error, opening, had=had)
            except SessionsError:
                self._end(error)
                raise
        else:
            await self._caller.revive()
            delay = delay_before_new_stream(error, attempt=self._failures, backoff=self._caller.backoff)
        if delay is None:
            self._end(error)
            raise error
        self._failures += 1
        self._pause = Deadline(delay)
        logger.info("The stream of session %s broke (%s); reconnecting.", self._cursor.session_id, error.code)
        if opening is None:
            self._show(StreamState.RECONNECTING, error)

    def _mark_alive(self) -> None:
        """Notes that the server has sent something."""
        if self._connection.state is not StreamState.LIVE:
            self._failures = 0
            self._caller.reached()
            self._show(StreamState.LIVE)

    def _show(self, state: StreamState, error: SessionsError | None = None) -> None:
        """Reports the state if it has changed."""
        if self._connection.state is state:
            return
        self._connection = StreamStatus(state=state, since=datetime.now(UTC), error=error)
        if self._on_connection is not None:
            try:
                self._on_connection(self._connection)
            except Exception:
                logger.exception("on_connection of the subscription to %s failed.", self._cursor.session_id)

    async def _shut(self) -> None:
        self._started = True
        self._end()
        # Two callbacks that wait for each other would deadlock.
        if self._worker is not None and not _backend.in_worker():
            await self._worker.join()

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise RuntimeError(
                "This subscription was opened before its process was forked; subscribe again in the child."
            )

    def _end(self, error: SessionsError | None = None) -> None:
        if os.getpid() != self._process:
            return
        self._stop.set()
        self._drop()
        self._show(StreamState.ENDED, error)

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
