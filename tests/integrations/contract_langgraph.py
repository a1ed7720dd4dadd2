"""LangGraph's conformance suite on both savers, and comparisons with LangGraph's own SQLite saver for what the suite
omits."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from itertools import chain
from operator import add
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.store.memory import InMemoryStore

from examples.frameworks.langgraph import graph_on
from examples.frameworks.model import model_server
from sessions_client import AsyncClient, Client, Scope
from sessions_client.integrations.langgraph import (
    AsyncSessionsSaver,
    AsyncSessionsStore,
    SessionsSaver,
    SessionsStore,
)
from tests.integrations.checkpoints import everything, place, put

ADDRESS = os.environ["SESSIONS_TEST_ADDRESS"]


@checkpointer_test(name="asynchronous")
async def asynchronous() -> AsyncIterator[BaseCheckpointSaver[str]]:
    async with AsyncClient(ADDRESS) as client:
        yield AsyncSessionsSaver(client)


@checkpointer_test(name="synchronous")
async def synchronous() -> AsyncIterator[BaseCheckpointSaver[str]]:
    with Client(ADDRESS) as client:
        yield SessionsSaver(client)


@pytest.mark.parametrize("registered", [asynchronous, synchronous], ids=lambda each: each.name)
async def test_the_conformance_suite_passes_with_every_capability(registered: Any) -> None:
    report = await validate(registered)
    assert {name: result.passed for name, result in report.results.items()} == dict.fromkeys(
        [
            "put",
            "put_writes",
            "get_tuple",
            "list",
            "delete_thread",
            "delete_for_runs",
            "copy_thread",
            "prune",
        ],
        True,
    ), [result.failures for result in report.results.values()]


@pytest.fixture(params=["LangGraph's own", "ours"])
def saver(request: pytest.FixtureRequest) -> Iterator[BaseCheckpointSaver[str]]:
    with ExitStack() as stack:
        if request.param == "ours":
            yield SessionsSaver(stack.enter_context(Client(ADDRESS)))
        else:
            yield stack.enter_context(SqliteSaver.from_conn_string(":memory:"))


class State(TypedDict):
    seen: Annotated[list[Any], add]
    image: bytes


def graph(saver: BaseCheckpointSaver[str]) -> Any:
    builder = StateGraph(State)
    builder.add_node("look", lambda state: {"seen": [len(state["image"])], "image": state["image"]})
    builder.add_node("think", lambda state: {"seen": [2**63, 1.0, "\0", float("inf")]})
    builder.add_edge(START, "look")
    builder.add_edge("look", "think")
    builder.add_edge("think", END)
    return builder.compile(checkpointer=saver)


def test_a_graph_runs_and_its_history_is_the_same(saver: BaseCheckpointSaver[str]) -> None:
    compiled, thread = graph(saver), place(f"any text/é {uuid.uuid4()}")
    for _ in range(2):
        state = compiled.invoke({"seen": [{"z": 1, "a": 2}], "image": bytes(2_500_000)}, thread)
    once = [{"z": 1, "a": 2}, 2_500_000, 2**63, 1.0, "\0", float("inf")]
    assert state["seen"] == once * 2
    history = list(compiled.get_state_history(thread))
    assert [len(each.values.get("seen", ())) for each in history] == [12, 8, 7, 6, 6, 2, 1, 0]
    again = compiled.invoke(None, history[2].config)
    assert again["seen"] == once * 2


def joined(state: list[str], writes: list[list[str]]) -> list[str]:
    return [*state, *chain.from_iterable(writes)]


class Deltas(TypedDict):
    notes: Annotated[list[str], DeltaChannel(joined, list)]


def test_a_pruned_thread_still_rebuilds_its_delta_channels() -> None:
    with Client(ADDRESS) as client:
        saver = SessionsSaver(client)
        builder = StateGraph(Deltas)
        builder.add_node("note", lambda state: {"notes": [f"note {len(state['notes'])}"]})
        builder.add_edge(START, "note")
        compiled, thread = builder.compile(checkpointer=saver), place(str(uuid.uuid4()))
        for number in range(5):
            compiled.invoke({"notes": [f"input {number}"]}, thread)
        before = compiled.get_state(thread).values
        assert len(before["notes"]) == 10
        saver.prune([thread["configurable"]["thread_id"]])
        assert compiled.get_state(thread).values == before


def test_a_checkpoint_put_again_below_its_descendant_ends_the_chain_of_parents(
    saver: BaseCheckpointSaver[str],
) -> None:
    thread = place(str(uuid.uuid4()))
    first = put(saver, thread, {"other": 0})
    saver.put_writes(first, [("notes", "of the first")], "task")
    second = put(saver, first, {}, counters_since_delta_snapshot={"notes": 1})
    checkpoint = {**empty_checkpoint(), "id": first["configurable"]["checkpoint_id"]}
    saver.put(second, checkpoint, {}, {})
    found = saver.get_delta_channel_history(config=second, channels=["notes"])
    assert found == {"notes": {"writes": [("task", "notes", "of the first")]}}
    if isinstance(saver, SessionsSaver):  # LangGraph's own saver does not prune.
        saver.prune([thread["configurable"]["thread_id"]])
        assert saver.get_tuple(second) is not None


def test_listings_over_namespaces_and_threads(saver: BaseCheckpointSaver[str]) -> None:
    one, two, run = str(uuid.uuid4()), "x" * 300 + str(uuid.uuid4()), str(uuid.uuid4())
    stored = [
        put(saver, place(thread, namespace), {"n": number}, run_id=run, step=number)
        for number, (thread, namespace) in enumerate(
            [(one, ""), (two, ""), (one, "child|a:b"), (two, "c" * 300)]
        )
    ]
    newest_first = [each["configurable"] for each in reversed(stored)]
    found = [each.config["configurable"] for each in saver.list(None, filter={"run_id": run})]
    assert found == newest_first
    assert [each.metadata["step"] for each in saver.list({"configurable": {"thread_id": one}})] == [2, 0]
    assert [each.metadata["step"] for each in saver.list(None, filter={"run_id": run, "step": 3})] == [3]
    bound = next(saver.list(None, filter={"run_id": run, "step": 2})).config
    found_before = saver.list(None, filter={"run_id": run}, before=bound, limit=1)
    assert [each.metadata["step"] for each in found_before] == [1]


ODD_VALUES = [float("inf"), float("-inf"), 2**63, 1.0, "", "a\0b", True, None, ["\0"], {"a": "\0"}]


@pytest.mark.parametrize("kind", ["LangGraph's own", "ours"])
def test_filters_take_any_value(kind: str) -> None:
    # Of LangGraph's own stores only the in-memory one accepts every value.
    with Client(ADDRESS) as client:
        saver: Any = InMemorySaver() if kind == "LangGraph's own" else SessionsSaver(client)
        store: Any = InMemoryStore() if kind == "LangGraph's own" else SessionsStore(client)
        for odd in ODD_VALUES:
            root = str(uuid.uuid4())
            for key, value in {"odd": odd, "another": "another"}.items():
                store.put((root,), key, {"v": value})
                put(saver, place(root, key), {}, step=value, run_id=value, other=value)
            assert [item.key for item in store.search((root,), filter={"v": odd})] == ["odd"]
            # Metadata loses U+0000.
            expected = [] if odd == "a\0b" else [odd]
            for name in ("step", "run_id", "other"):
                listed = saver.list({"configurable": {"thread_id": root}}, filter={name: odd})
                assert [each.metadata[name] for each in listed] == expected


def test_a_run_is_deleted_from_all_its_threads() -> None:
    run, other = str(uuid.uuid4()), str(uuid.uuid4())
    names = [f"thread {number} {run}" for number in range(20)]
    # Its pages are short, so that everything takes several reads.
    with Client(os.environ["SESSIONS_TEST_SHORT_PAGES_ADDRESS"]) as client:
        saver = SessionsSaver(client)
        for name in names:
            config = put(saver, place(name), {"a": 1}, run_id=run)
            put(saver, put(saver, config, {"a": 2}, run_id=other), {"a": 3}, run_id=run)
        saver.delete_for_runs([run])
        assert list(saver.list(None, filter={"run_id": run})) == []
        left = list(saver.list(None, filter={"run_id": other}))
    assert sorted(each.config["configurable"]["thread_id"] for each in left) == sorted(names)
    assert [each.checkpoint["channel_values"] for each in left] == [{"a": 2}] * len(names)


def test_writes_are_ordered_by_task_and_keep_their_first_value(
    saver: BaseCheckpointSaver[str],
) -> None:
    config = put(saver, place(str(uuid.uuid4())), {})
    saver.put_writes(config, [("a", 1), ("b", bytes(3_000_000))], "task/2", "~1")
    saver.put_writes(config, [("a", 2)], "task/1", "~2")
    saver.put_writes(config, [("a", 3)], "task/2", "~1")
    saver.put_writes(config, [("__error__", "first")], "task/2", "~1")
    saver.put_writes(config, [("__error__", "second")], "task/2", "~1")
    found = saver.get_tuple(config)
    assert found is not None
    assert found.pending_writes == [
        ("task/2", "__error__", "second"),
        ("task/2", "a", 1),
        ("task/2", "b", bytes(3_000_000)),
        ("task/1", "a", 2),
    ]


@pytest.mark.parametrize("count", [0, 3, 4, 20])
@pytest.mark.parametrize("namespace", ["", "é" * 200], ids=["", "a long namespace"])
def test_the_newest_checkpoint_has_all_its_writes_and_no_others(
    saver: BaseCheckpointSaver[str], namespace: str, count: int
) -> None:
    thread_id = str(uuid.uuid4())
    config = place(thread_id, namespace)
    for _ in range(2):
        config = put(saver, config, {})
        saver.put_writes(config, [("a", "older")] * 12, "task")
    newest = put(saver, config, {})
    saver.put_writes(newest, [("a", number) for number in range(count)], "task")
    for asked in (place(thread_id, namespace), newest):
        found = saver.get_tuple(asked)
        assert found is not None
        assert found.config == newest
        assert [value for _, _, value in found.pending_writes or ()] == list(range(count))


def test_an_unchanged_channel_missing_from_the_store_is_stored(saver: BaseCheckpointSaver[str]) -> None:
    config = place(str(uuid.uuid4()))
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = {"big": "x" * 100_000}
    stored = saver.put(config, checkpoint, {"source": "loop", "step": 0, "parents": {}}, {})
    found = saver.get_tuple(stored)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"big": "x" * 100_000}


def test_unreferenced_values_are_deleted_with_their_checkpoints() -> None:
    with Client(ADDRESS) as client:
        saver, thread, run = SessionsSaver(client), str(uuid.uuid4()), str(uuid.uuid4())
        first = put(saver, place(thread), {"old": "x" * 5_000_000, "both": "z" * 5_000}, run_id=run)
        saver.put_writes(first, [("w", "w" * 100_000)], "task")
        put(saver, first, {"new": "y" * 5_000, "both": "z" * 5_000})
        kept = everything(saver, thread)[:1]
        saver.delete_for_runs([run])
        assert everything(saver, thread) == kept
        records = client.records.list(Scope(session_id=thread), subtree=True, keys_only=True)
        assert sorted(record.name.collection[1] for record in records) == ["blobs", "blobs", "checkpoints"]


def test_a_copy_into_a_thread_that_exists() -> None:
    source, target = str(uuid.uuid4()), str(uuid.uuid4())
    with Client(ADDRESS) as client:
        saver = SessionsSaver(client)
        config = put(saver, place(source), {"big": "x" * 100_000})
        saver.put_writes(config, [("a", 1)], "task")
        put(saver, place(target), {"other": 1})
        saver.copy_thread(source, target)
        assert len(everything(saver, target)) == 2
        assert everything(saver, source)[0][0] in [found[0] for found in everything(saver, target)]


def test_filters_name_nested_values_by_path(saver: BaseCheckpointSaver[str]) -> None:
    thread_id = str(uuid.uuid4())
    config = put(saver, place(thread_id), {}, user={"access-level": "nested", "1": {"x": 2}})
    put(saver, config, {}, user="another")
    for wanted in ({"user.access-level": "nested"}, {"user.1.x": 2}):
        found = list(saver.list({"configurable": {"thread_id": thread_id}}, filter=wanted))
        assert [each.config for each in found] == [config]


async def test_an_awaited_graph_may_have_the_synchronous_saver() -> None:
    with Client(ADDRESS) as client:
        compiled, thread = graph(SessionsSaver(client)), place(str(uuid.uuid4()))
        state = await compiled.ainvoke({"seen": [1], "image": b"x"}, thread)
        history = [each async for each in compiled.aget_state_history(thread)]
    assert next(each.values.get("seen", []) for each in history) == state["seen"]
    assert len(history) == 4


@pytest.mark.parametrize("kind", ["LangGraph's own", "ours"])
async def test_synchronous_nodes_of_an_asynchronous_graph_use_the_same_saver_and_store(kind: str) -> None:
    async with AsyncSqliteSaver.from_conn_string(":memory:") as own, AsyncClient(ADDRESS) as client:
        saver: Any = own if kind == "LangGraph's own" else AsyncSessionsSaver(client)
        store, root = AsyncSessionsStore(client), str(uuid.uuid4())

        def inner(state: State) -> dict[str, Any]:
            return {"seen": ["inner"]}

        def outer(state: State) -> dict[str, Any]:
            store.put((root,), "k", {"v": 1})
            below = StateGraph(State).add_node("inner", inner).add_edge(START, "inner").compile(saver)
            found = below.invoke({"seen": []}, {"configurable": {"thread_id": f"{root} below"}})
            assert [each.metadata["step"] for each in saver.list(config)] != []
            return found

        config = {"configurable": {"thread_id": root}}
        graph = StateGraph(State).add_node("outer", outer).add_edge(START, "outer").compile(saver)
        assert (await graph.ainvoke({"seen": []}, config))["seen"] == ["inner"]
        with pytest.raises(asyncio.InvalidStateError):
            saver.get_tuple(config)
        if kind == "ours":
            with pytest.raises(asyncio.InvalidStateError):
                store.get((root,), "k")
        assert (await store.aget((root,), "k")).value == {"v": 1}


def test_an_asynchronous_saver_works_without_a_loop() -> None:
    saver = AsyncSessionsSaver(AsyncClient(ADDRESS))
    assert saver.get_tuple({"configurable": {"thread_id": str(uuid.uuid4())}}) is None


def test_a_repeated_step_of_the_example_reuses_the_stored_response() -> None:
    """As when the program was killed after the response was stored, and before the checkpoint was."""
    thread = str(uuid.uuid4())
    config: Any = {"configurable": {"thread_id": thread}}
    with model_server() as url, Client(ADDRESS) as client:
        client.sessions.create(user_id="u1", session_id=thread)
        client.sessions.add_message(thread, id="after-1", role="assistant", content="Very much.")
        question = HumanMessage("How much?", id="1")
        state = graph_on(client, url).invoke({"messages": [question]}, config, durability="sync")
        history = client.sessions.get_history(thread)
    assert [message.content for message in state["messages"]] == ["How much?", "Very much."]
    assert [(message.id, message.content) for message in history] == [("after-1", "Very much.")]
