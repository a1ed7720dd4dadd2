"""Conversion of drafts and of the pieces that subscribers receive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sessions_proto.v1 import drafts_pb2 as drafts_pb, sessions_pb2 as pb
from sessions_server.domain.drafts import Abandon, DraftOpening, DraftState, DraftWrite
from sessions_server.domain.models import SECOND, Micros
from sessions_server.domain.soundness import ROLE_CHARACTERS, TEXT_CHARACTERS
from sessions_server.rpc.convert.check import Check
from sessions_server.rpc.convert.common import read_key, read_stamp
from sessions_server.rpc.convert.encoded import EncodedOnce
from sessions_server.rpc.convert.messages import read_fields
from sessions_server.service.drafts import DraftCommit

if TYPE_CHECKING:
    from sessions_server.domain.drafts import Piece
    from sessions_server.domain.limits import Limits

PART_CHARACTERS: Final = 160

_IDLE: Final = Micros(60 * SECOND)
_LONGEST_IDLE: Final = Micros(600 * SECOND)
_INTERVAL: Final = Micros(50_000)
_LONGEST_INTERVAL: Final = Micros(10 * SECOND)

_ABANDON: Final[dict[int, Abandon]] = {
    drafts_pb.ABANDON_DISCARD: Abandon.DISCARD,
    drafts_pb.ABANDON_COMMIT: Abandon.COMMIT,
}
_STATES: Final = {
    DraftState.WRITING: pb.DRAFT_STATE_WRITING,
    DraftState.DISCARDED: pb.DRAFT_STATE_DISCARDED,
    DraftState.ABANDONED: pb.DRAFT_STATE_ABANDONED,
}

_ENCODED: Final = EncodedOnce["Piece"]()


def read_write_draft(request: drafts_pb.WriteDraftRequest, *, tenant: str, limits: Limits) -> DraftWrite:
    check = Check(limits)
    idle = _IDLE
    if request.HasField("idle"):
        idle = check.span_between("idle", request.idle, Micros(SECOND), _LONGEST_IDLE)
    on_abandon = check.known("on_abandon", request.on_abandon, _ABANDON, default=Abandon.DISCARD)
    opening = DraftOpening(
        check.id("message_id", request.message_id),
        check.text("role", request.role, ROLE_CHARACTERS),
        check.text("name", request.name, TEXT_CHARACTERS),
        on_abandon or Abandon.DISCARD,
        idle,
    )
    write = DraftWrite(
        read_key(check, tenant, request),
        opening,
        check.text("part", request.part, PART_CHARACTERS),
        check.not_negative("position", request.position),
        request.text,
        request.discard,
    )
    check.done()
    return write


def read_commit_draft(request: drafts_pb.CommitDraftRequest, *, tenant: str, limits: Limits) -> DraftCommit:
    check = Check(limits)
    message_id = check.id("message_id", request.message_id)
    if request.message.id not in ("", request.message_id):
        check.wrong("message.id", "Must be empty or the same as message_id.")
    commit = DraftCommit(
        read_key(check, tenant, request),
        message_id,
        read_fields(check, "message", request.message),
        read_stamp(check, request),
    )
    check.done()
    return commit


def read_interval(check: Check, request: pb.SubscribeRequest) -> float | None:
    """The minimum interval between two pieces of a draft, in seconds; None means no drafts."""
    interval = _INTERVAL
    if request.HasField("draft_interval"):
        interval = check.span_between("draft_interval", request.draft_interval, Micros(0), _LONGEST_INTERVAL)
    return interval / SECOND if request.include_drafts else None


def encode_draft(piece: Piece) -> bytes:
    encoded = _ENCODED.find(piece)
    if encoded is None:
        response = pb.SubscribeResponse()
        draft = response.draft
        draft.message_id, draft.role, draft.name = piece.message_id, piece.role, piece.name
        draft.part, draft.text, draft.state = piece.part, piece.text, _STATES[piece.state]
        setattr(draft, "from", piece.start)  # `from` is a Python keyword
        draft.to = piece.end
        encoded = _ENCODED.keep(piece, response.SerializeToString())
    return encoded
