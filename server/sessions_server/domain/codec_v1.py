"""Reads the formats of the first release. Frozen: nothing writes them any more."""

from __future__ import annotations

from typing import Any

from sessions_server.domain.models import (
    ExpiryAction,
    Json,
    Overflow,
    Persistence,
    Session,
    SessionConfig,
    SessionKey,
    State,
    StateReason,
    StorageOptions,
)


def session_from_json(raw: dict[str, Any]) -> Session:
    timeout, max_messages, context_window, overflow = raw["config"]
    persistence, encryption, ttl, expiry_action = raw["storage"]
    count, last, revision, history_start, log_start = raw["counters"]
    create, update, active, start, end, archive = raw["times"]
    return Session(
        key=SessionKey(raw["tenant"], raw["id"]),
        user_id=raw["user_id"],
        state=State(raw["state"]),
        metadata=raw["metadata"],
        config=SessionConfig(timeout, max_messages, context_window, Overflow(overflow)),
        storage=StorageOptions(Persistence(persistence), encryption, ttl, ExpiryAction(expiry_action)),
        message_count=count,
        last_sequence=last,
        revision=revision,
        history_start=history_start,
        log_start=log_start,
        create_time=create,
        update_time=update,
        active_time=active,
        start_time=start,
        end_time=end,
        archive_time=archive,
        expiry_reason=None if raw["expiry_reason"] is None else StateReason(raw["expiry_reason"]),
    )


def meaning(session: Session) -> Json:
    """The part of an exported session that the export's digest covers."""
    config, storage = session.config, session.storage
    return [
        [session.key.session_id, session.user_id, session.state, session.metadata],
        [config.timeout, config.max_messages, config.context_window, config.overflow],
        [storage.persistence, storage.encryption, storage.ttl, storage.expiry_action],
        [session.message_count, session.last_sequence, session.revision],
        [
            session.create_time,
            session.update_time,
            session.start_time,
            session.end_time,
            session.archive_time,
        ],
    ]
