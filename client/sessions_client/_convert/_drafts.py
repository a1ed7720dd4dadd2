"""Drafts: requests of writers, and the pieces that subscribers receive."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from sessions_client._convert import _scalars as scalars
from sessions_client._convert._messages import fill_message
from sessions_client._drafts import Abandon, DraftState, DraftTexts, DraftUpdate
from sessions_client._errors import refused
from sessions_client._models import Span
from sessions_proto.v1 import drafts_pb2, sessions_pb2 as pb

_SHORTEST_IDLE = timedelta(seconds=1)
_LONGEST_IDLE = timedelta(minutes=10)

_ABANDON = {
    Abandon.DISCARD: drafts_pb2.ABANDON_DISCARD,
    Abandon.COMMIT: drafts_pb2.ABANDON_COMMIT,
}

_STATES = {
    pb.DRAFT_STATE_WRITING: DraftState.WRITING,
    pb.DRAFT_STATE_DISCARDED: DraftState.DISCARDED,
    pb.DRAFT_STATE_ABANDONED: DraftState.ABANDONED,
}


class DraftTarget(NamedTuple):
    """The draft of a writer, with validated fields."""

    session_id: str
    message_id: str
    role: str
    name: str
    on_abandon: Abandon
    idle: Span | None

    def write(self, part: str, *, position: int, text: str) -> drafts_pb2.WriteDraftRequest:
        request = drafts_pb2.WriteDraftRequest(
            session_id=self.session_id,
            message_id=self.message_id,
            role=self.role,
            name=self.name,
            part=part,
            position=position,
            text=text,
            on_abandon=_ABANDON[self.on_abandon],
        )
        if self.idle is not None:
            request.idle.CopyFrom(scalars.duration(self.idle, field="idle"))
        return request

    def discard(self) -> drafts_pb2.WriteDraftRequest:
        return drafts_pb2.WriteDraftRequest(
            session_id=self.session_id, message_id=self.message_id, discard=True
        )

    def commit(
        self, fields: Mapping[str, Any], *, content: str, request_id: str | None
    ) -> drafts_pb2.CommitDraftRequest:
        """Includes the whole text, so that the commit does not depend on a server that has the draft."""
        request = drafts_pb2.CommitDraftRequest(
            session_id=self.session_id,
            message_id=self.message_id,
            request_id=scalars.new_request_id(request_id),
        )
        given = {key: value for key, value in fields.items() if value is not None}
        message = {"role": self.role, "name": self.name, **given, "content": content}
        fill_message(request.message, message, field="message")
        return request


def draft_target(
    session_id: str,
    *,
    role: str,
    name: str | None,
    message_id: str | None,
    on_abandon: str,
    idle: Span | None,
) -> DraftTarget:
    """Validates the arguments. Raises InvalidArgument before anything is sent."""
    try:
        choice = Abandon(on_abandon)
    except ValueError:
        raise refused("on_abandon", 'must be "discard" or "commit".') from None
    if (
        idle is not None
        and not _SHORTEST_IDLE <= scalars.duration(idle, field="idle").ToTimedelta() <= _LONGEST_IDLE
    ):
        # The server's refusal would come too late: a draft that is not shown is no error of its writer.
        raise refused("idle", "must be between 1 second and 10 minutes.")
    return DraftTarget(
        session_id=scalars.text(session_id, field="session_id"),
        message_id=scalars.text(message_id, field="message_id")
        if message_id
        else scalars.new_request_id(None),
        role=scalars.text(role, field="role"),
        name=scalars.text(name, field="name") if name is not None else "",
        on_abandon=choice,
        idle=idle,
    )


def read_draft(session_id: str, wire: pb.Draft, texts: DraftTexts) -> DraftUpdate | None:
    """A piece, joined to the earlier ones. None for a state that this release does not know."""
    state = _STATES.get(wire.state)
    if state is None:
        return None
    text = ""
    if state is DraftState.WRITING:
        start = getattr(wire, "from")  # `from` is a Python keyword
        text = texts.join(wire.message_id, wire.part, start=start, end=wire.to, text=wire.text)
    else:
        texts.end(wire.message_id)
    return DraftUpdate(
        session_id=session_id,
        message_id=wire.message_id,
        role=wire.role,
        name=wire.name or None,
        part=wire.part,
        text=text,
        added=wire.text,
        state=state,
    )
