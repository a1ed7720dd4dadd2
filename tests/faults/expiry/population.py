"""Random sessions, and their expected state at any time, computed without the server's code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sessions_proto.v1 import sessions_pb2 as pb

if TYPE_CHECKING:
    import random

    from google.protobuf.duration_pb2 import Duration

GONE = 0
"""The pseudo state of an erased session."""

LIVING = (pb.SESSION_STATE_CREATED, pb.SESSION_STATE_ACTIVE, pb.SESSION_STATE_PAUSED)
IDLING = (pb.SESSION_STATE_CREATED, pb.SESSION_STATE_ACTIVE)

VERBS: dict[pb.SessionState.ValueType, tuple[str, ...]] = {
    pb.SESSION_STATE_CREATED: (),
    pb.SESSION_STATE_ACTIVE: ("StartSession",),
    pb.SESSION_STATE_PAUSED: ("StartSession", "PauseSession"),
    pb.SESSION_STATE_ENDED: ("EndSession",),
    pb.SESSION_STATE_ARCHIVED: ("ArchiveSession",),
}
"""How a new session gets into a state."""

WEIGHTS = dict(zip(VERBS, (12, 6, 2, 1, 1), strict=True))
"""The relative frequency of each."""

MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class Specimen:
    """One session; spans are microseconds since its creation, by which time its setup is complete."""

    id: str
    user_id: str
    state: pb.SessionState.ValueType
    persistence: pb.Persistence.ValueType
    action: pb.ExpiryAction.ValueType
    ttl: int | None
    timeout: int | None
    content: str
    """Its content besides metadata: a `message`, a `context` or nothing."""

    @property
    def secret(self) -> str:
        return f"secret-of-{self.id}."

    @property
    def is_erased_by_ttl(self) -> bool:
        return self.persistence == pb.PERSISTENCE_TEMPORARY or self.action == pb.EXPIRY_ACTION_DELETE

    def state_after(self, span: int) -> int:
        """The state at this time after the creation, or GONE."""
        if self.state == pb.SESSION_STATE_ENDED and self.persistence == pb.PERSISTENCE_TEMPORARY:
            return GONE
        if self.ttl is not None and span >= self.ttl:
            return self._after_ttl()
        if self.timeout is not None and span >= self.timeout and self.state in IDLING:
            return pb.SESSION_STATE_EXPIRED
        return self.state

    def creation(self) -> pb.CreateSessionRequest:
        request = pb.CreateSessionRequest(session_id=self.id, user_id=self.user_id, request_id="create")
        request.metadata.update({"secret": self.secret})
        request.storage_options.persistence = self.persistence
        request.storage_options.expiry_action = self.action
        if self.ttl is not None:
            put_span(request.storage_options.ttl, self.ttl)
        if self.timeout is not None:
            put_span(request.config.timeout, self.timeout)
        return request

    def _after_ttl(self) -> int:
        if self.is_erased_by_ttl:
            return GONE
        if self.action == pb.EXPIRY_ACTION_ARCHIVE:
            return pb.SESSION_STATE_ARCHIVED
        return pb.SESSION_STATE_EXPIRED if self.state in LIVING else self.state


def put_span(target: Duration, micros: int) -> None:
    target.seconds, rest = divmod(micros, MICROS)
    target.nanos = rest * 1_000


def random_spans(rng: random.Random, count: int) -> list[int]:
    """Increasing times, to the microsecond, at which something happens."""
    return sorted(rng.sample(range(MICROS, 3_600 * MICROS), count))


def random_specimen(rng: random.Random, number: int, user_id: str, span: int, later: list[int]) -> Specimen:
    """A random session to which something usually happens at `span`, and sometimes something else later."""
    temporary = rng.random() < 0.4
    states = [state for state in VERBS if not (temporary and state == pb.SESSION_STATE_ARCHIVED)]
    idles_first = rng.random() < 0.4
    other = rng.choice([None, *later])
    if temporary and idles_first and other is None:
        other = 86_400 * MICROS
    actions = [pb.EXPIRY_ACTION_RETAIN, pb.EXPIRY_ACTION_ARCHIVE, pb.EXPIRY_ACTION_DELETE]
    return Specimen(
        id=f"s{number:05}",
        user_id=user_id,
        state=rng.choices(states, [WEIGHTS[state] for state in states])[0],
        persistence=pb.PERSISTENCE_TEMPORARY if temporary else pb.PERSISTENCE_PERMANENT,
        action=pb.EXPIRY_ACTION_DELETE if temporary else rng.choice(actions),
        ttl=other if idles_first else span,
        timeout=span if idles_first else other,
        content=rng.choice(["message", "message", "context", "", ""]),
    )
