# Derived from sessions_client/_async/_subscription.py by client/unasync.py. Change that file, then run:
#     python client/unasync.py
"""The live log of one session, across broken streams.

An event is handed over once, in order, and none is left out: the cursor moves when an event was handed over,
and every new stream begins at the cursor."""

from __future__ import annotations

import functools
import logging
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from sessions_client._convert._events import Checkpoint, read_response
from sessions_client._deadline import Deadline
from sessions_client._errors import SessionsError, Unavailable
from sessions_client._events import Event
from sessions_client._follow import PATIENCE_SECONDS, Cursor
from sessions_client._models import Span
from sessions_client._retry import delay_before_new_stream, delay_before_retry, error_to_raise
from sessions_client._sync import _backend

if TYPE_CHECKING:
    from types import TracebackType

    from sessions_client._options import Metadata
    from sessions_client._sync._caller import Caller

logger = logging.getLogger("sessions_client")


class Subscription(_backend.Startable["Subscription"]):
    """The events of one session, as they are committed.

    Without a callback: iterate it. With one: events are delivered to it in the background, one after another
    and in order; the next is not delivered before the callback is done with the last.

    A stream that breaks is opened again, with growing pauses, for as long as it takes, and goes on after the
    last event that was handed over. The iteration ends after a `deleted` event or `close()`, and raises
    `OutOfRange` when events that were not seen yet are no longer kept.

    When the callback raises, the error is logged to the logger `sessions_client`, nothing more is delivered,
    and `wait()`, `close()` or leaving the `with` block raises it. An error of the subscription itself takes
    the same way."""

    def __init__(
        self,
        caller: Caller,
        cursor: Cursor,
        *,
        callback: Callable[[Event], object] | None,
        timeout: Span | None,
    ) -> None:
        self._caller = caller
        self._cursor = cursor
        self._callback = callback
        self._timeout = timeout
        self._touched = False
        self._started = False
        self._turn = threading.Lock()
        self._reader: object = None
        """Who reads now."""
        self._stop = _backend.Signal()
        self._stream: _backend.Stream | None = None
        self._early: Event | None = None
        self._failures = 0
        self._broken: SessionsError | None = None
        self._worker: _backend.Worker | None = None
        self._failure: BaseException | None = None

    @property
    def position(self) -> int | None:
        """The sequence up to which everything was handed over; `subscribe(after_sequence=…)` goes on from
        there."""
        return self._cursor.position

    @property
    def closed(self) -> bool:
        """Whether it has ended: by `close()`, by the session's deletion or by an error."""
        return self._stop.is_set()

    def wait(self) -> None:
        """Waits until the delivery to the callback has ended. Raises what ended it, unless that was the
        session's deletion or `close()`."""
        if self._callback is None:
            raise RuntimeError("This subscription has no callback to wait for; iterate it.")
        self._establish()
        if self._worker is not None:
            if self._worker.is_current():
                raise RuntimeError("A callback cannot wait for its own subscription; close it there instead.")
            self._worker.join()
        self._raise_failure()

    def close(self) -> None:
        """Ends the subscription. Waits for a callback that is running, unless it is called in a callback
        itself, and raises what the callback raised."""
        self._shut()
        self._raise_failure()

    def __enter__(self) -> Self:
        self._establish()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._shut()
        # An error of the block itself goes first; the callback's is in the log.
        if exc is None:
            self._raise_failure()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        if self._callback is not None:
            raise RuntimeError(
                "The events of this subscription go to its callback; subscribe without one to iterate."
            )
        self._establish()
        reader, position = object(), self._cursor.position
        try:
            self._take_turn(reader)
            event = self._next()
            if event is not None:
                self._cursor.pass_event(event)
        except BaseException:
            # A signal's handler may raise anywhere. What it cut comes again, on a new stream.
            if self._reader is reader:
                self._drop()
                self._cursor.go_back(position)
            raise
        finally:
            if self._reader is reader:
                self._reader = None
        if event is None:
            raise StopIteration
        return event

    def __del__(self) -> None:
        if self._callback is not None and not self._touched and not self._stop.is_set():
            warnings.warn(
                "A subscription with a callback was never awaited nor entered.", RuntimeWarning, stacklevel=2
            )

    def _start(self) -> Subscription:
        self._establish()
        return self

    def _establish(self) -> None:
        self._touched = True
        if self._started:
            return
        reader = object()
        try:
            self._take_turn(reader)
            self._begin()
        finally:
            if self._reader is reader:
                self._reader = None

    def _begin(self) -> None:
        if self._stop.is_set():
            raise RuntimeError("This subscription could not be established; subscribe again.")
        self._caller.attend(self)
        first = self._receive(self._caller.deadline(self._timeout))
        if first is None:
            self._caller.connection.check_open()
        elif isinstance(first, Checkpoint):
            self._cursor.advance(first.sequence)
        else:
            self._early = first
        self._started = True
        if self._callback is not None and not self._stop.is_set():
            deliver = functools.partial(self._deliver, self._callback)
            self._worker = _backend.Worker(deliver, name=f"sessions-subscription-{self._cursor.session_id}")

    def _take_turn(self, reader: object) -> None:
        """Two that read at once would take each other's events, and lose the order."""
        with self._turn:
            if self._reader is None:
                self._reader = reader
        if self._reader is not reader:
            raise RuntimeError(
                "This subscription is being read already; subscribe once more for a second reader."
            )

    def _deliver(self, callback: Callable[[Event], object]) -> None:
        runner = _backend.CallbackRunner(callback)
        try:
            while (event := self._next()) is not None:
                runner.hand_over(event)
                self._cursor.pass_event(event)
        except BaseException as exc:
            # Also what is no Exception, and what nobody would see in the background.
            if _backend.is_interruption(exc):
                raise
            self._failure = exc
            logger.exception(
                "The subscription to session %s has ended with an error.", self._cursor.session_id
            )
        finally:
            self._end()
            runner.close()

    def _next(self) -> Event | None:
        """The next event that was not handed over yet, None at the end."""
        if self._cursor.at_end:
            self._end()
            return None
        event, self._early = self._early, None
        while event is None or not self._cursor.is_new(event):
            item = self._receive(None)
            if item is None:
                return None
            if isinstance(item, Checkpoint):
                self._cursor.advance(item.sequence)
            event = item if isinstance(item, Event) else None
        return event

    def _receive(self, deadline: Deadline | None) -> Event | Checkpoint | None:
        """What the stream brings next, on a new stream if need be; None at the end."""
        while not self._stop.is_set():
            patience = _patience(deadline)
            try:
                stream = self._stream or self._open()
                if self._stop.is_set():
                    # Closed from elsewhere while the stream was being opened.
                    break
                response = stream.read(patience=patience)
            except SessionsError as error:
                self._drop()
                self._pause(error, deadline, patience)
                continue
            except BaseException:
                # The caller's own interruption. The read that it cut is gone; the next one begins at the
                # cursor.
                self._drop()
                raise
            self._failures, self._broken = 0, None
            if response is None:
                self._end()
            elif (item := read_response(response)) is not None:
                return item
        self._drop()
        return None

    def _open(self) -> _backend.Stream:
        caller, metadata = self._caller, self._metadata()
        with caller.connection.in_use():
            call = caller.stub.Subscribe(self._cursor.request(), metadata=metadata)
            self._stream = _backend.Stream(call)
        return self._stream

    def _metadata(self) -> Metadata:
        """With a fresh token. What keeps an established subscription from one passes, as a broken stream
        does."""
        try:
            return self._caller.metadata()
        except Exception as exc:
            if not self._started or isinstance(exc, SessionsError):
                raise
            logger.warning("The token for the stream of session %s failed: %r", self._cursor.session_id, exc)
            raise Unavailable("The function that gives the token failed; look at its own error.") from exc

    def _pause(self, error: SessionsError, deadline: Deadline | None, had: float) -> None:
        """Waits before the next stream. Raises the error instead when that is final or the deadline too
        near."""
        if self._stop.is_set():
            return
        attempt, backoff = self._failures, self._caller.backoff
        if deadline is None:
            delay = delay_before_new_stream(error, attempt=attempt, backoff=backoff)
        else:
            remaining = deadline.remaining()
            delay = delay_before_retry(error, attempt=attempt, remaining=remaining, backoff=backoff)
        if delay is None:
            self._end()
            raise error_to_raise(error, before=self._broken, had=had)
        self._failures, self._broken = self._failures + 1, error
        logger.info(
            "The stream of session %s broke (%s); a new one follows.", self._cursor.session_id, error.code
        )
        self._stop.wait(delay)

    def _shut(self) -> None:
        self._started = True
        self._end()
        # Two callbacks that wait for each other's end would wait for ever.
        if self._worker is not None and not _backend.in_worker():
            self._worker.join()

    def _end(self) -> None:
        self._stop.set()
        self._drop()

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


def _patience(deadline: Deadline | None) -> float:
    return PATIENCE_SECONDS if deadline is None else min(PATIENCE_SECONDS, deadline.remaining())
