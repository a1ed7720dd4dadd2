"""The position of a subscription. Pure: no stream, no clock.

It moves only when an event was handed to the caller, or by a checkpoint. So the next stream repeats whatever a broken
one had not handed over, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003  # for whoever asks for the type hints at run time
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Final

from sessions_client._convert._events import Checkpoint, subscribe_request
from sessions_client._convert._scalars import each, integer
from sessions_client._errors import DeadlineExceeded, SessionsError
from sessions_client._events import Event
from sessions_client._json_form import Model, plain
from sessions_client._models import EventType

if TYPE_CHECKING:
    from sessions_proto.v1 import sessions_pb2 as pb

CHECKPOINT_SECONDS = 30.0
"""The server sends a checkpoint at least this often."""

PATIENCE_SECONDS = 2.5 * CHECKPOINT_SECONDS
"""A stream that is silent for so long is dead, whatever TCP believes."""


class Quiet(Enum):
    """What a read gives that waited no longer."""

    QUIET = "quiet"


QUIET: Final = Quiet.QUIET


class StreamState(StrEnum):
    """How a subscription is connected."""

    CONNECTING = "connecting"
    """Not subscribed yet."""
    LIVE = "live"
    RECONNECTING = "reconnecting"
    """The stream broke; a new one follows."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatus(Model):
    """How a subscription is connected, and since when."""

    state: StreamState
    since: datetime
    error: SessionsError | None = field(default=None, compare=False)
    """What broke the stream, while it is `reconnecting`, or ended it."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the error as its text."""
        error = None if self.error is None else str(self.error)
        return {"state": self.state.value, "since": plain(self.since), "error": error}


def nothing_came() -> DeadlineExceeded:
    """What `next(timeout=…)` raises when there was no event in that time."""
    return DeadlineExceeded("No event came within the timeout; call again, the subscription goes on.")


def silence(seconds: float) -> DeadlineExceeded:
    """What a stream raises that said nothing for so long."""
    return DeadlineExceeded(
        f"The server was silent for {seconds:.1f} s; check that it is alive and subscribe again."
    )


class Cursor:
    """The position of one subscription, and the request that goes on from there."""

    def __init__(
        self,
        session_id: str,
        *,
        event_types: Iterable[str] | None,
        after_sequence: int | None,
        include_changes: bool = False,
        log_id: str | None = None,
        until: int | None = None,
    ) -> None:
        self.session_id = session_id
        self._event_types = () if event_types is None else tuple(each(event_types, field="event_types"))
        self.position = after_sequence
        """Everything up to here was handed over; None: nothing yet, begin with the next event."""
        self.log_id = log_id
        """The log that the position belongs to; None: not known yet."""
        self._include_changes = include_changes
        self._until = None if until is None else integer(until, field="until", bits=64)
        self._saw_deletion = False
        # Bad input is refused here, not when the stream is opened.
        self.request()

    def request(self) -> pb.SubscribeRequest:
        return subscribe_request(
            self.session_id,
            event_types=self._event_types,
            after_sequence=self.position,
            include_changes=self._include_changes,
            log_id=self.log_id,
        )

    @property
    def at_end(self) -> bool:
        """Whether nothing comes any more: the session's deletion or the last wanted position was handed over."""
        return self._saw_deletion or (
            self._until is not None and self.position is not None and self.position >= self._until
        )

    def is_beyond(self, event: Event) -> bool:
        """Whether the event lies after the last wanted position, so that nothing up to there is still to come."""
        return self._until is not None and event.sequence > self._until

    def is_new(self, event: Event) -> bool:
        """Whether the event lies after what was handed over."""
        return self.position is None or event.sequence > self.position

    def pass_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Everything up to the checkpoint was handed over or filtered out."""
        self._advance(checkpoint.sequence)
        self.log_id = checkpoint.log_id or self.log_id

    def pass_event(self, event: Event) -> None:
        """The event was handed over."""
        self._advance(event.sequence)
        self._saw_deletion = event.type is EventType.DELETED

    def go_back(self, position: int | None) -> None:
        """The last event was not handed over after all."""
        self.position, self._saw_deletion = position, False

    def _advance(self, sequence: int) -> None:
        """Moves forward, never back."""
        self.position = sequence if self.position is None else max(self.position, sequence)
