"""The requests that change a session's state."""

from __future__ import annotations

from sessions_client._convert import _scalars as scalars
from sessions_proto.v1 import sessions_pb2 as pb


def start_request(session_id: str, *, etag: str | None, request_id: str | None) -> pb.StartSessionRequest:
    return pb.StartSessionRequest(**scalars.target(session_id, etag=etag, request_id=request_id))


def pause_request(session_id: str, *, etag: str | None, request_id: str | None) -> pb.PauseSessionRequest:
    return pb.PauseSessionRequest(**scalars.target(session_id, etag=etag, request_id=request_id))


def resume_request(session_id: str, *, etag: str | None, request_id: str | None) -> pb.ResumeSessionRequest:
    return pb.ResumeSessionRequest(**scalars.target(session_id, etag=etag, request_id=request_id))


def end_request(session_id: str, *, etag: str | None, request_id: str | None) -> pb.EndSessionRequest:
    return pb.EndSessionRequest(**scalars.target(session_id, etag=etag, request_id=request_id))


def archive_request(session_id: str, *, etag: str | None, request_id: str | None) -> pb.ArchiveSessionRequest:
    return pb.ArchiveSessionRequest(**scalars.target(session_id, etag=etag, request_id=request_id))
