"""Request ids: one effect and the first response, for a day, whatever happens to the session in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from sessions_server.domain.errors import RequestIdReused, SessionNotFound
from sessions_server.domain.models import (
    SECOND,
    ExpiryAction,
    Micros,
    Persistence,
    Session,
    StorageOptions,
)
from tests.conformance.harness import KEY, OTHER, Harness, add, create, move, set_context, stamp
from tests.support import commits as c
from tests.support.commits import Answer

if TYPE_CHECKING:
    from sessions_server.domain.ports import Cells

DAY = 24 * 3600


def seen(answer: Answer) -> Answer:
    """The part of a response that callers see: without the wrapped key."""
    return answer._replace(data_key=None) if isinstance(answer, Session) else answer


TEMPORARY = StorageOptions(persistence=Persistence.TEMPORARY, ttl=Micros(3_600 * SECOND), encryption=True)


REPEATED: dict[str, c.Commit] = {
    "a message": add("again", request=stamp("r")),
    "several messages": add("one", "two", request=stamp("r")),
    "a context": set_context({"deep": {"value": [1, 2.5, "x"]}}, request="r"),
    "a move": move(c.Verb.START, request="r"),
    "a clear": c.clear_history(key=KEY, request=stamp("r")),
    "a deletion": c.delete(key=KEY, request=stamp("r")),
}


@pytest.mark.parametrize("command", REPEATED.values(), ids=REPEATED.keys())
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_a_repeated_request_has_one_effect_and_the_first_response(
    bench: Harness, cells: Cells, command: c.Commit, encrypted: bool
) -> None:
    await bench.apply(create(data_key=cells.new_key(*KEY) if encrypted else None), add("a", "b"))
    first = await bench.do(command)
    head = (await bench.store.heads([KEY]))[KEY]
    bench.clock.turn(seconds=DAY - 1)
    assert await bench.do(command) == seen(first)
    assert (await bench.store.heads([KEY]))[KEY] == head


async def test_a_repeated_create_returns_the_session_as_created(bench: Harness) -> None:
    first = await bench.do(create(request="r"))
    await bench.apply(add("a"), move(c.Verb.START))
    assert await bench.do(create(request="r")) == seen(first)


async def test_a_request_id_repeated_within_one_batch_has_one_effect(bench: Harness) -> None:
    command = add("a", request=stamp("r"))
    _, *answers = await bench.apply(create(), *[command] * 32)
    assert all(answer == answers[0] for answer in answers)
    assert await bench.contents() == ["a"]


@pytest.mark.parametrize(
    "second",
    [
        add("a", request=stamp("r", payload=b"another")),
        add("a", "b", request=stamp("r", payload=b"another")),
        move(c.Verb.START, request="r"),
    ],
    ids=["another payload", "more messages", "another method"],
)
async def test_a_request_id_used_for_something_else_is_refused(bench: Harness, second: c.Commit) -> None:
    await bench.apply(create(), add("a", request=stamp("r", method="AddMessage")))
    with pytest.raises(RequestIdReused):
        await bench.do(second)
    assert await bench.contents() == ["a"]


async def test_a_request_id_is_new_again_after_a_day(bench: Harness) -> None:
    await bench.apply(create(), add("a", request=stamp("r")))
    bench.clock.turn(seconds=DAY)
    await bench.do(add("b", request=stamp("r")))
    assert await bench.contents() == ["a", "b"]
    assert await bench.do(add("b", request=stamp("r"))) is not None
    assert await bench.contents() == ["a", "b"]


async def test_request_ids_belong_to_their_session(bench: Harness) -> None:
    await bench.apply(
        create(), create(OTHER), add("a", request=stamp("r")), add("b", key=OTHER, request=stamp("r"))
    )
    assert await bench.contents(OTHER) == ["b"]


async def test_a_refused_command_does_not_use_up_its_request_id(bench: Harness) -> None:
    with pytest.raises(SessionNotFound):
        await bench.do(add("a", request=stamp("r")))
    await bench.do(create())
    await bench.do(add("a", request=stamp("r")))
    assert await bench.contents() == ["a"]


async def test_the_stored_response_to_ending_a_session_outlives_its_key(bench: Harness, cells: Cells) -> None:
    ended = move(c.Verb.END, request="r")
    await bench.do(create(storage=TEMPORARY, data_key=cells.new_key(*KEY)))
    first = await bench.do(ended)
    await bench.do(create(storage=TEMPORARY, data_key=cells.new_key(*KEY)))
    assert await bench.do(ended) == seen(first)


def delete(request: str) -> c.Commit:
    return c.delete(key=KEY, request=stamp(request, method="DeleteSession"))


async def test_a_late_repeat_of_a_deletion_deletes_no_later_session(bench: Harness, cells: Cells) -> None:
    await bench.apply(create(), delete("first"), create(data_key=cells.new_key(*KEY)), add("a"))
    await bench.apply(delete("second"), create())
    for request in ("first", "second", "first"):
        assert await bench.do(delete(request)) is None
        assert await bench.contents() == []
    await bench.do(c.delete(key=KEY))
    assert await bench.do(delete("first")) is None
    await bench.do(create(storage=StorageOptions(ttl=SECOND, expiry_action=ExpiryAction.DELETE)))
    bench.clock.turn(seconds=1)
    assert await bench.do(delete("second")) is None
    with pytest.raises(SessionNotFound):
        await bench.do(delete("third"))


OF_A_DELETED_SESSION: dict[str, c.Commit] = {
    "a creation": create(request="r"),
    "a message": add("a", request=stamp("r")),
    "a context": set_context({"secret": 1}, request="r"),
    "a move": move(c.Verb.START, request="r"),
    "a clear": c.clear_history(key=KEY, request=stamp("r")),
}


@pytest.mark.parametrize("created_again", [False, True])
@pytest.mark.parametrize("command", OF_A_DELETED_SESSION.values(), ids=OF_A_DELETED_SESSION.keys())
async def test_a_late_repeat_neither_restores_a_deleted_session_nor_affects_the_next(
    bench: Harness, command: c.Commit, created_again: bool
) -> None:
    await bench.apply(*([] if command.create else [create()]), command, delete("d"))
    if created_again:
        await bench.do(create())
    head = (await bench.store.heads([KEY]))[KEY]
    with pytest.raises(SessionNotFound):
        await bench.do(command)
    assert (await bench.store.heads([KEY]))[KEY] == head
    bench.clock.turn(seconds=DAY)
    if created_again:
        assert (await bench.store.session(KEY)).state == "created"


async def test_a_receipt_is_valid_in_its_log_after_a_failover(bench: Harness) -> None:
    await bench.do(create())
    message = add("a", request=stamp("r"))
    first = await bench.do(message)
    branch = sa.text("UPDATE sessions SET log_id = log_id || '.3-next'")
    await bench.store._runner.write(lambda connection: connection.execute(branch).rowcount)
    assert await bench.do(message) == first
    assert await bench.contents() == ["a"]


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_a_receipt_is_valid_only_in_its_own_log(bench: Harness, cells: Cells, encrypted: bool) -> None:
    message = add("a", request=stamp("r"))
    for count in range(2):
        await bench.do(create(data_key=cells.new_key(*KEY) if encrypted else None))
        if count:
            with pytest.raises(SessionNotFound):
                await bench.do(message)
        else:
            assert await bench.do(message) == await bench.do(message)
        await bench.do(delete(f"d{count}"))
        with pytest.raises(SessionNotFound):
            await bench.do(message)


async def test_a_late_repeat_of_an_end_leaves_a_later_session_unchanged(bench: Harness) -> None:
    end = move(c.Verb.END, request="r")
    await bench.apply(create(storage=TEMPORARY._replace(encryption=False)), end, create(), add("a"))
    ended = await bench.do(end)
    assert isinstance(ended, Session)
    assert ended.state == "ended"
    assert await bench.contents() == ["a"]
