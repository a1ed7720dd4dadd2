"""Reads past states of sessions. They are computed from the log, so each read is a search, see `lane.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from sessions_server.storage.joined import Joined

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

    from sessions_server.storage.backend import Runner
    from sessions_server.storage.questions import Outcome
    from sessions_server.storage.read import OfSession
    from sessions_server.storage.rules import Rules

T = TypeVar("T")
ReadAll: TypeAlias = "Callable[..., list[Outcome[T]]]"


class PastReads:
    def __init__(self, runner: Runner, rules: Rules) -> None:
        self._runner = runner
        self._rules = rules
        self._joined = Joined(self._read)

    async def ask(self, read: ReadAll[T], question: OfSession) -> T:
        """The result of `read` for the question, or its error. Raises LimitExceeded, Unavailable like any search."""
        found: T = await self._joined.ask((read, question))
        return found

    async def _read(self, asked: tuple[ReadAll[Any], OfSession], begin: Callable[[], None]) -> Any:
        read, question = asked

        def work(connection: Connection) -> Any:
            begin()
            [found] = read(connection, [question], rules=self._rules, now=self._runner.now())
            if isinstance(found, Exception):
                raise found
            return found

        return await self._runner.search(work, tenant=question.key.tenant, field="at_sequence")
