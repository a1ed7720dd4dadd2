"""The journal of a run: what it has done, so that it is not done again.

A run with an id keeps its journal in its own session: one message per finished step, written after the step. A step
that was interrupted between its effect and its message is repeated with the same request id, so the server does not
apply it twice. The repeated request is equal to the first, because what a step sends depends only on the inputs and the
journal.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeAlias

from sessions_client import AlreadyExists, FailedPrecondition, Message
from sessions_tasks._calls import Calls
from sessions_tasks._errors import RunConflict, StepProblem

USER: Final = "sessions-task"
PREFIX: Final = "task-run:"
_RUN_ID: Final = re.compile(r"[A-Za-z0-9._~:@-]{1,100}")
_PART_CHARACTERS: Final = 200_000
_MAX_PARTS: Final = 16
_PAGE: Final = 1_000

Act: TypeAlias = Callable[[str | None], Awaitable[Any]]


class Journal(Protocol):
    """Runs steps at most once."""

    def knows(self, key: str) -> bool:
        """Whether an earlier run has done the step."""
        ...

    async def once(self, key: str, act: Act) -> Any:
        """The result of `act`, which is given a request id; the earlier result if it was done before."""
        ...


class NoJournal:
    """A run without an id starts from the beginning each time."""

    def knows(self, key: str) -> bool:
        return False

    async def once(self, key: str, act: Act) -> Any:
        return await act(None)


class SessionJournal:
    """The journal of a run with an id."""

    def __init__(self, calls: Calls, run_id: str) -> None:
        if not _RUN_ID.fullmatch(run_id):
            raise RunConflict(
                "A run id has 1 to 100 of the characters `A-Z a-z 0-9 . _ ~ : @ -`. Choose another one."
            )
        self._calls, self._run_id = calls, run_id
        self._session_id = f"{PREFIX}{run_id}"
        self._done: dict[str, Any] = {}

    def knows(self, key: str) -> bool:
        return key in self._done

    async def once(self, key: str, act: Act) -> Any:
        if key not in self._done:
            output = await act(self._id_of(key))
            await self._write(key, output)
            self._done[key] = output
        return self._done[key]

    async def open(self, *, task: str, name: str, inputs: Any) -> None:
        """Reads the journal. Raises RunConflict if it belongs to another task or other inputs."""
        await self._create(name)
        await self._read()
        ours = {"task": _digest(task), "inputs": _digest(json.dumps(inputs, sort_keys=True))}

        async def begin(request_id: str | None) -> Any:
            return ours

        theirs = await self.once("run", begin)
        for what in ("task", "inputs"):
            if theirs[what] != ours[what]:
                other = {"task": "another version of the file", "inputs": "other inputs"}[what]
                raise RunConflict(f"The run `{self._run_id}` was begun with {other}. Use a new run id.")

    async def finish(self) -> None:
        """Ends the session of the run."""
        await self._calls.call("end", session_id=self._session_id, request_id=self._id_of("end"))

    async def _create(self, name: str) -> None:
        session: dict[str, Any] = {
            "user_id": USER,
            "session_id": self._session_id,
            "if_exists": "return",
            "metadata": {"task": name, "run_id": self._run_id},
        }
        try:
            # It contains copies of steps' outputs, including those from encrypted sessions.
            await self._calls.call("create", **session, storage_options={"encryption": True})
        except FailedPrecondition as error:
            if error.reason != "ENCRYPTION_NOT_CONFIGURED":
                raise
            await self._calls.call("create", **session)

    async def _read(self) -> None:
        parts: dict[str, str] = {}
        after, more = 0, True
        while more:
            page = await self._calls.call(
                "get_history", session_id=self._session_id, limit=_PAGE, after_sequence=after
            )
            for message in page:
                self._take(message, parts)
                after = message.sequence
            more = page.has_more and bool(page)

    def _take(self, message: Message, parts: dict[str, str]) -> None:
        key = message.metadata["key"]
        parts[key] = parts.get(key, "") + message.content
        if message.metadata["left"] == 0:
            self._done[key] = json.loads(parts.pop(key))

    async def _write(self, key: str, output: Any) -> None:
        text = json.dumps(output)
        parts = [text[start : start + _PART_CHARACTERS] for start in range(0, len(text), _PART_CHARACTERS)]
        if len(parts) > _MAX_PARTS:
            limit = _PART_CHARACTERS * _MAX_PARTS // 10**6
            raise StepProblem(
                f"Its output is larger than {limit} MB, which a run with an id cannot keep. Return less."
            )
        messages = [
            {
                "id": f"{self._id_of(key)}.{index}",
                "role": "step",
                "content": part,
                "metadata": {"key": key, "left": len(parts) - index - 1},
            }
            for index, part in enumerate(parts)
        ]
        try:
            request_id = self._id_of(f"{key} done")
            await self._calls.call(
                "add_messages", session_id=self._session_id, messages=messages, request_id=request_id
            )
        except (AlreadyExists, FailedPrecondition) as error:
            message = (
                f"The run `{self._run_id}` is under way in another process. Wait for it, or use a new run id."
            )
            raise RunConflict(message) from error

    def _id_of(self, key: str) -> str:
        return f"task-{_digest(f'{self._run_id} {key}')[:40]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
