"""The position of a subscription. Pure: no stream, no clock.

It advances only when an event was delivered to the caller, or by a checkpoint. So a new stream repeats exactly what the
broken one had not delivered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003  # resolves type hints at run time
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from sessions_client._convert._events import Checkpoint, read_response, subscribe_request
from sessions_client._convert._scalars import each, integer
from sessions_client._drafts import DraftTexts, DraftUpdate
from sessions_client._errors import DeadlineExceeded, SessionsError
from sessions_client._events import Event
from sessions_client._json_form import Model, plain
from sessions_client._models import EventType, Message, Span

if TYPE_CHECKING:
    from sessions_client._retry import Attempts
    from sessions_proto.v1 import sessions_pb2 as pb

CHECKPOINT_SECONDS = 30.0
"""The server sends a checkpoint at least this often."""

MAX_SILENCE_SECONDS = 2.5 * CHECKPOINT_SECONDS
"""A stream that is silent for this long is dead, whatever TCP believes."""


Item: TypeAlias = "Event | DraftUpdate"
"""What a subscription yields; with `include_drafts=True` also pieces of drafts."""

if TYPE_CHECKING:
    # With a default, so that `Subscription` without a parameter is one of events.
    import typing_extensions

    Item_co = typing_extensions.TypeVar("Item_co", bound=Item, default=Event, covariant=True)
else:
    Item_co = TypeVar("Item_co", covariant=True)


class Quiet(Enum):
    """The result of a read whose wait has passed."""

    QUIET = "quiet"


QUIET: Final = Quiet.QUIET


class StreamState(StrEnum):
    """The state of a subscription's connection."""

    CONNECTING = "connecting"
    """Not subscribed yet."""
    LIVE = "live"
    RECONNECTING = "reconnecting"
    """The stream broke and will be opened again."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatus(Model):
    """The state of a subscription's connection, and since when."""

    state: StreamState
    since: datetime
    error: SessionsError | None = field(default=None, compare=False)
    """What broke the stream, if `reconnecting`, or ended it."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the status with the error as a string."""
        error = None if self.error is None else str(self.error)
        return {"state": self.state.value, "since": plain(self.since), "error": error}


def no_event() -> DeadlineExceeded:
    """The error of `next(timeout=…)` if no event arrived in time."""
    return DeadlineExceeded("No event came within the timeout; call again, the subscription continues.")


def stream_silent(seconds: float) -> DeadlineExceeded:
    """The error of a stream that was silent for too long."""
    return DeadlineExceeded(
        f"The server was silent for {seconds:.1f} s; check that it is alive and subscribe again."
    )


def max_silence_of(opening: Attempts | None) -> float:
    """How many seconds a stream may be silent; `opening` has the attempts to establish it, if it is not established
    yet."""
    return MAX_SILENCE_SECONDS if opening is None else min(MAX_SILENCE_SECONDS, opening.remaining())


class Cursor:
    """The position of one subscription, and the request to continue from there."""

    def __init__(
        self,
        session_id: str,
        *,
        event_types: Iterable[str] | None,
        after_sequence: int | None,
        include_changes: bool = False,
        log_id: str | None = None,
        until: int | None = None,
        include_drafts: bool = False,
        draft_interval: Span | None = None,
    ) -> None:
        self.session_id = session_id
        self._event_types = () if event_types is None else tuple(each(event_types, field="event_types"))
        self.position = after_sequence
        """Everything up to here was delivered; None to start with the next event."""
        self.log_id = log_id
        """The log that the position belongs to; None if not known yet."""
        self._include_changes = include_changes
        self._include_drafts = include_drafts
        self._draft_interval = draft_interval
        self.drafts = DraftTexts()
        """The drafts as shown by the current stream."""
        self._until = None if until is None else integer(until, field="until", bits=64)
        self._saw_deletion = False
        # Invalid input is refused here, not when the stream is opened.
        self.request()

    def request(self) -> pb.SubscribeRequest:
        return subscribe_request(
            self.session_id,
            event_types=self._event_types,
            after_sequence=self.position,
            include_changes=self._include_changes,
            log_id=self.log_id,
            include_drafts=self._include_drafts,
            draft_interval=self._draft_interval,
        )

    def read(self, response: pb.SubscribeResponse) -> Item | Checkpoint | None:
        """The content of a response; None for a kind that this release does not know."""
        return read_response(response, self.session_id, self.drafts)

    @property
    def at_end(self) -> bool:
        """Whether nothing more follows: the session's deletion or the last requested position was delivered."""
        return self._saw_deletion or (
            self._until is not None and self.position is not None and self.position >= self._until
        )

    def is_beyond(self, event: Event) -> bool:
        """Whether the event is after the last requested position, so that no event up to there can follow."""
        return self._until is not None and event.sequence > self._until

    def is_new(self, event: Event) -> bool:
        """Whether the event has not been delivered yet."""
        return self.position is None or event.sequence > self.position

    def pass_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Everything up to the checkpoint was delivered or filtered out."""
        self._advance(checkpoint.sequence)
        self.log_id = checkpoint.log_id or self.log_id

    def pass_event(self, event: Event) -> None:
        """The event was delivered."""
        self._advance(event.sequence)
        if isinstance(event.data, Message):
            self.drafts.end(event.data.id)
        self._saw_deletion = event.type is EventType.DELETED

    def go_back(self, position: int | None) -> None:
        """The last event was not delivered after all."""
        self.position, self._saw_deletion = position, False

    def _advance(self, sequence: int) -> None:
        """Never moves back."""
        self.position = sequence if self.position is None else max(self.position, sequence)
