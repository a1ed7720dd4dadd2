"""Where a subscription stands. Pure: no stream, no clock.

The position moves only when an event was handed over, or by a checkpoint; so what a broken stream had not
handed over comes again on the next one, and what it had does not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sessions_client._convert._events import subscribe_request
from sessions_client._convert._scalars import each
from sessions_client._errors import DeadlineExceeded
from sessions_client._events import Event
from sessions_client._models import EventType

if TYPE_CHECKING:
    from sessions_proto.v1 import sessions_pb2 as pb

CHECKPOINT_SECONDS = 30.0
"""The server sends a checkpoint at least this often."""

PATIENCE_SECONDS = 2.5 * CHECKPOINT_SECONDS
"""A stream that is silent for so long is dead, whatever TCP believes."""


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
    ) -> None:
        self.session_id = session_id
        self._event_types = () if event_types is None else tuple(each(event_types, field="event_types"))
        self.position = after_sequence
        """Everything up to here was handed over; None: nothing yet, begin with the next event."""
        self.log_id = log_id
        """The log that the position belongs to; None: not known yet."""
        self._include_changes = include_changes
        self.at_end = False
        """Whether the session's deletion was handed over, after which nothing comes."""
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

    def is_new(self, event: Event) -> bool:
        """Whether the event lies beyond what was handed over."""
        return self.position is None or event.sequence > self.position

    def advance(self, sequence: int) -> None:
        """Moves forward, never back."""
        self.position = sequence if self.position is None else max(self.position, sequence)

    def pass_event(self, event: Event) -> None:
        """The event was handed over."""
        self.advance(event.sequence)
        self.at_end = event.type is EventType.DELETED

    def go_back(self, position: int | None) -> None:
        """What was to be handed over since was not."""
        self.position, self.at_end = position, False
