"""Drives a store through commands, as the writer does, with defaults for everything that a test does not set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence as Seq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

from sessions_server.domain.filters import Condition, parse_filter
from sessions_server.domain.models import (
    JsonObject,
    Message,
    MessageBody,
    MessageDraft,
    Micros,
    Session,
    SessionConfig,
    SessionKey,
    State,
    StorageOptions,
)
from sessions_server.domain.ports import HistoryQuery, ListQuery, OrderBy, Transaction
from tests.support import commits as c
from tests.support.commits import Answer, answer

if TYPE_CHECKING:
    from sessions_server.domain.commit import Commit, Committed
    from sessions_server.domain.reads import Read, ReadResult
    from sessions_server.domain.workspace import Published
    from sessions_server.storage.store import Store
    from tests.support.clock import HandClock

KEY = SessionKey("default", "s")
OTHER = SessionKey("default", "other")


@dataclass(slots=True)
class Harness:
    store: Store
    clock: HandClock
    published: list[Published] = field(default_factory=list)
    """What the last transaction published to watchers."""

    async def apply(self, *commands: c.Commit) -> list[Answer | Exception]:
        """Decides the commands in order, in one transaction."""

        def work(transaction: Transaction) -> tuple[list[Answer | Exception], list[Published]]:
            workspace = transaction.load(commands)
            outcomes: list[Answer | Exception] = []
            for command in commands:
                try:
                    outcomes.append(answer(command, workspace.apply(command)))
                except Exception as error:
                    outcomes.append(error)
            return outcomes, transaction.save(workspace)

        outcomes, self.published = await self.store.transact(work)
        return outcomes

    async def do(self, command: c.Commit) -> Answer:
        """The result of one command; raises its refusal."""
        (outcome,) = await self.apply(command)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def commit(self, *commits: Commit) -> Committed:
        """The result of the last of the commits, all in one transaction; raises the refusal of any."""

        def work(transaction: Transaction) -> tuple[Committed, list[Published]]:
            workspace = transaction.load(commits)
            done = [workspace.apply(commit) for commit in commits]
            return done[-1], transaction.save(workspace)

        self.published = []
        done, self.published = await self.store.transact(work)
        return done

    async def read_after(self, commit: Commit, reads: Seq[Read]) -> tuple[ReadResult, ...]:
        """The results of reads in the transaction of a commit."""

        def work(transaction: Transaction) -> tuple[ReadResult, ...]:
            workspace = transaction.load([commit])
            workspace.apply(commit)
            transaction.save(workspace)
            return transaction.read(reads)

        return await self.store.transact(work)

    async def contents(self, key: SessionKey = KEY, query: HistoryQuery | None = None) -> list[str]:
        page = await self.store.history(key, query or HistoryQuery(1_000))
        return [message.body.content for message in page.messages]

    async def due(self, limit: int) -> list[SessionKey]:
        return [each.key for each in await self.store.due(limit)]

    async def listed(self, query: ListQuery) -> list[str]:
        """The ids on one page."""
        return [session.key.session_id for session in (await self.store.sessions(query)).sessions]


def key(session_id: str, tenant: str = "default") -> SessionKey:
    return SessionKey(tenant, session_id)


def stamp(request_id: str, *, method: str = "Method", payload: bytes = b"payload") -> c.RequestStamp:
    return c.RequestStamp(request_id, method, payload)


def create(
    key: SessionKey = KEY,
    *,
    user_id: str = "u",
    metadata: JsonObject | None = None,
    config: SessionConfig | None = None,
    storage: StorageOptions | None = None,
    data_key: bytes | None = None,
    request: str = "",
) -> c.Commit:
    return c.create(
        key=key,
        user_id=user_id,
        metadata=metadata or {},
        config=config or SessionConfig(),
        storage=storage or StorageOptions(encryption=data_key is not None),
        data_key=data_key,
        request=stamp(request) if request else None,
        log_id=uuid4().hex,
    )


def add(*texts: str, key: SessionKey = KEY, request: c.RequestStamp | None = None) -> c.Commit:
    """Messages with server-generated ids, unique if the test's texts are."""
    drafts = (MessageDraft(f"id of {text}", MessageBody(role="user", content=text)) for text in texts)
    return c.add_messages(key=key, drafts=tuple(drafts), request=request)


def add_chosen(message_id: str, text: str, *, key: SessionKey = KEY) -> c.Commit:
    draft = MessageDraft(message_id, MessageBody(role="user", content=text), chosen=True)
    return c.add_messages(key=key, drafts=(draft,))


def set_context(data: JsonObject, *, key: SessionKey = KEY, request: str = "") -> c.Commit:
    return c.set_context(key=key, data=data, request=stamp(request) if request else None)


def move(verb: c.Verb, key: SessionKey = KEY, *, request: str = "") -> c.Commit:
    return c.move(key=key, verb=verb, request=stamp(request) if request else None)


def list_of(
    *,
    tenant: str = "default",
    user_id: str = "",
    states: Iterable[State] = (),
    metadata_filter: JsonObject | None = None,
    conditions: Seq[Condition] = (),
    order: str = "create_time",
    limit: int = 1_000,
    after: Session | None = None,
) -> ListQuery:
    column, _, direction = order.partition(" ")
    place: tuple[Micros, str] | None = None
    if after is not None:
        place = (after.create_time if column == "create_time" else after.update_time, after.key.session_id)
    return ListQuery(
        tenant=tenant,
        user_id=user_id,
        states=tuple(states),
        conditions=(*conditions, *parse_filter(metadata_filter or {})),
        order=OrderBy(column, direction == "desc"),
        limit=limit,
        after=place,
    )


def texts(messages: Iterable[Message]) -> list[str]:
    return [message.body.content for message in messages]
