# Derived from sessions_client/_async/_drafts.py by client/unasync.py. Change that file, then run:
#     python client/unasync.py
"""A message that is written piece by piece and visible to subscribers meanwhile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from sessions_client._convert import _drafts as convert
from sessions_client._convert._messages import read_message
from sessions_client._convert._scalars import text as checked_text
from sessions_client._drafts import Abandon, DraftPart
from sessions_client._errors import DeadlineExceeded, ResourceExhausted, SessionsError, Unavailable
from sessions_client._models import Message, Span
from sessions_client._sync import _backend
from sessions_client._sync._caller import Resource

if TYPE_CHECKING:
    from types import TracebackType

    from sessions_client._sync._caller import Caller

logger = logging.getLogger("sessions_client")

MOST_WAITING = 64 * 1024
"""How many unsent characters make `write` wait."""

_CONTENT = ""


class Draft:
    """A message that is being written. Use it in an `with` block: leaving the block commits the message. An
    exception discards the draft or, with `on_abandon="commit"`, commits the text so far with `interrupted: true` in the
    metadata.

    Pieces are sent in the background, one call at a time; text written during a call goes into the next one. If the
    server cannot be reached, only what subscribers see is delayed: the message is committed with its whole text.
    """

    def __init__(self, caller: Caller, target: convert.DraftTarget, *, timeout: Span | None) -> None:
        self._caller = caller
        self._target = target
        self._timeout = timeout
        self._parts: dict[str, DraftPart] = {}
        self._waiting = 0
        self._lock = threading.Lock()
        self._sender: _backend.Worker | None = None
        self._refusal: SessionsError | None = None
        self._is_shown = True
        """Whether the server accepts pieces."""
        self._over = False
        self.message: Message | None = None
        """The message, once committed."""
        self.watchers = 0
        """How many subscribers were watching when a piece was last sent."""

    @property
    def message_id(self) -> str:
        """The id of the draft and of the resulting message."""
        return self._target.message_id

    @property
    def text(self) -> str:
        """The content of the message so far."""
        return self._parts[_CONTENT].text if _CONTENT in self._parts else ""

    def write(self, text: str, *, part: str = _CONTENT) -> None:
        """Adds text to the content of the message, or to another `part`, such as `reasoning`, that is shown but not
        stored. Returns before the text is sent.

        Raises errors of earlier calls: FailedPrecondition if the session accepts no messages, AlreadyExists if the
        history has a message with this id.
        """
        if self._over:
            raise RuntimeError("The draft has ended. Begin another one.")
        piece = checked_text(text, field="text")
        if not piece:
            return
        with self._lock:
            self._parts.setdefault(checked_text(part, field="part"), DraftPart()).append(piece)
            self._waiting += len(piece)
            if self._sender is None and self._is_shown:
                self._sender = _backend.Worker(self._send, name=f"sessions-draft-{self.message_id}")
        if self._waiting > MOST_WAITING:
            self._flush()
        if self._refusal is not None:
            raise self._refusal

    def commit(
        self,
        *,
        data: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        tool_call_id: str | None = None,
        payload: bytes | None = None,
        payload_type: str | None = None,
        request_id: str | None = None,
    ) -> Message:
        """Makes the draft a message. Leaving the `with` block does this too; call it to set other fields."""
        self._end()
        fields = {
            "data": data,
            "metadata": metadata,
            "tool_call_id": tool_call_id,
            "payload": payload,
            "payload_type": payload_type,
        }
        request = self._target.commit(fields, content=self.text, request_id=request_id)
        response = self._caller.unary(self._caller.drafts.CommitDraft, request, timeout=self._timeout)
        self.message = message = read_message(response.message)
        return message

    def discard(self) -> None:
        """Ends the draft without a message."""
        self._end()
        request = self._target.discard()
        self._caller.unary(self._caller.drafts.WriteDraft, request, timeout=self._timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._over:
            return
        if exc is None:
            self.commit()
            return
        try:
            if self._target.on_abandon is Abandon.COMMIT and self.text:
                self.commit(metadata={"interrupted": True})
            else:
                self.discard()
        except SessionsError as error:
            # An exception from the block takes precedence.
            logger.warning("The draft %s could not be ended: %s", self.message_id, error)

    def _end(self) -> None:
        self._over = True
        self._flush()

    def _flush(self) -> None:
        sender = self._sender
        if sender is not None:
            sender.join()

    def _send(self) -> None:
        """Sends until nothing is left. What cannot be sent now goes with a later piece or with the message."""
        while (found := self._next_piece()) is not None:
            name, part, position, text = found
            request = self._target.write(name, position=position, text=text)
            try:
                response = self._caller.unary(self._caller.drafts.WriteDraft, request, timeout=self._timeout)
            except (Unavailable, DeadlineExceeded):
                self._stop(is_shown=True)
                return
            except ResourceExhausted as error:
                logger.warning("The draft %s is no longer shown: %s", self.message_id, error)
                self._stop(is_shown=False)
                return
            except SessionsError as error:
                self._refusal = error
                self._stop(is_shown=False)
                return
            except RuntimeError:  # the client was closed
                self._stop(is_shown=False)
                return
            with self._lock:
                part.sent(text, position=response.position)
            self.watchers = response.watchers

    def _next_piece(self) -> tuple[str, DraftPart, int, str] | None:
        with self._lock:
            for name, part in self._parts.items():
                if not part.is_sent:
                    return name, part, *part.piece()
            self._waiting, self._sender = 0, None
            return None

    def _stop(self, *, is_shown: bool) -> None:
        with self._lock:
            self._waiting, self._sender, self._is_shown = 0, None, is_shown


class Drafts(Resource):
    """Messages that subscribers see while they are being written."""

    def draft(
        self,
        session_id: str,
        *,
        role: str = "assistant",
        name: str | None = None,
        message_id: str | None = None,
        on_abandon: Abandon | Literal["discard", "commit"] = "discard",
        idle: Span | None = None,
        timeout: Span | None = None,
    ) -> Draft:
        """Starts a message that is visible while it is written: `with … as draft: draft.write(token)`.

        Subscribers with `include_drafts=True` see it grow. `on_abandon` says what happens if the block raises, or if
        nothing is written for longer than `idle`, from 1 second to 10 minutes, 60 seconds by default. `timeout` limits
        each call.
        """
        target = convert.draft_target(
            session_id, role=role, name=name, message_id=message_id, on_abandon=on_abandon, idle=idle
        )
        return Draft(self._caller, target, timeout=timeout)
