"""The methods that change a session's state."""

from __future__ import annotations

from sessions_client._async._caller import AsyncResource
from sessions_client._convert import _lifecycle as convert
from sessions_client._convert._sessions import read_session
from sessions_client._models import Session, Span


class AsyncLifecycle(AsyncResource):
    """Each method returns the session in its new state, and raises FailedPrecondition in any state other than those
    listed; the error's metadata has the current state."""

    async def start(
        self,
        session_id: str,
        *,
        etag: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Session:
        """From `created` to `active`."""
        request = convert.start_request(session_id, etag=etag, request_id=request_id)
        response = await self._caller.unary(self._caller.stub.StartSession, request, timeout=timeout)
        return read_session(response.session)

    async def pause(
        self,
        session_id: str,
        *,
        etag: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Session:
        """From `active` to `paused`. The idle timer stops, and messages and context changes are
        refused."""
        request = convert.pause_request(session_id, etag=etag, request_id=request_id)
        response = await self._caller.unary(self._caller.stub.PauseSession, request, timeout=timeout)
        return read_session(response.session)

    async def resume(
        self,
        session_id: str,
        *,
        etag: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Session:
        """From `paused`, or `expired` by the idle timeout, to `active`."""
        request = convert.resume_request(session_id, etag=etag, request_id=request_id)
        response = await self._caller.unary(self._caller.stub.ResumeSession, request, timeout=timeout)
        return read_session(response.session)

    async def end(
        self,
        session_id: str,
        *,
        etag: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Session:
        """From `created`, `active`, `paused` or `expired` to `ended`. Temporary data is erased."""
        request = convert.end_request(session_id, etag=etag, request_id=request_id)
        response = await self._caller.unary(self._caller.stub.EndSession, request, timeout=timeout)
        return read_session(response.session)

    async def archive(
        self,
        session_id: str,
        *,
        etag: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Session:
        """From every other state to `archived`: the session is read-only from then on. A temporary session cannot be
        archived."""
        request = convert.archive_request(session_id, etag=etag, request_id=request_id)
        response = await self._caller.unary(self._caller.stub.ArchiveSession, request, timeout=timeout)
        return read_session(response.session)
