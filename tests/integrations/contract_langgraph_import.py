"""Imports of files written by LangGraph's SQLite saver, including after an interruption."""

from __future__ import annotations

import asyncio
import operator
import os
import sqlite3
import subprocess
import sys
import uuid
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from sessions_client import AsyncClient, Client
from sessions_client.integrations._imports import Outcome, UnusableSource
from sessions_client.integrations._langgraph_import import import_file
from sessions_client.integrations.langgraph import AsyncSessionsSaver, SessionsSaver

ADDRESS = os.environ["SESSIONS_TEST_ADDRESS"]
PROGRAM = [sys.executable, "-m", "sessions_client.integrations.langgraph", "import"]


class State(TypedDict):
    said: Annotated[list[Any], operator.add]
    number: float
    large: str


def graph_on(saver: Any) -> Any:
    """A graph that pauses for a person between its two steps."""

    def first(state: State) -> dict[str, Any]:
        return {"said": [AIMessage("one"), b"\0\xff", 2**60, None], "number": 1.0, "large": "x" * 100_000}

    def second(state: State) -> dict[str, Any]:
        return {"said": [interrupt("go on?")]}

    builder = StateGraph(State)
    builder.add_node("first", first)
    builder.add_node("second", second)
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    builder.add_edge("second", END)
    return builder.compile(checkpointer=saver)


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, list[dict[str, Any]]]:
    """A file written by the saver, and the configs of its threads."""
    file, mark = tmp_path / "graph.db", uuid.uuid4()
    configs = [{"configurable": {"thread_id": f"{name} {mark}"}} for name in ("any id / é", "b", "c")]
    with SqliteSaver.from_conn_string(str(file)) as saver:
        for number, config in enumerate(configs):
            graph_on(saver).invoke({"said": [HumanMessage(f"{number}")]}, config)
        graph_on(saver).invoke(Command(resume="yes"), configs[1])
    return file, configs


def imported(file: Path, *, most: int | None = None) -> list[Outcome]:
    """Imports a file; with `most` it is interrupted after that many checkpoints."""

    async def run() -> list[Outcome]:
        async with AsyncClient(ADDRESS) as client:
            return [outcome async for _, outcome in import_file(client, str(file))]

    with pytest.MonkeyPatch.context() as patch:
        put, count = AsyncSessionsSaver.aput, 0

        async def interrupted(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count == most:
                raise KeyboardInterrupt
            return await put(*arguments)

        patch.setattr(AsyncSessionsSaver, "aput", interrupted)
        return asyncio.run(run())


def assert_same(file: Path, configs: list[dict[str, Any]]) -> None:
    """Checks that every checkpoint, with its parent, metadata and pending writes, equals that of the framework's own
    saver."""
    with Client(ADDRESS) as client, SqliteSaver.from_conn_string(str(file)) as own:
        ours = SessionsSaver(client)
        for config in configs:
            wanted = list(own.list(config))
            assert list(ours.list(config)) == wanted
            assert len(wanted) > 2


def test_all_threads_of_a_file_are_imported_once_and_continue(
    written: tuple[Path, list[dict[str, Any]]],
) -> None:
    file, configs = written
    assert imported(file) == [Outcome.IMPORTED] * 3
    assert_same(file, configs)
    assert imported(file) == [Outcome.PRESENT] * 3
    assert_same(file, configs)
    with Client(ADDRESS) as client:
        state = graph_on(SessionsSaver(client)).invoke(Command(resume="yes"), configs[0])
    assert state["said"][-1] == "yes"
    assert imported(file) == [Outcome.PRESENT] * 3
    with Client(ADDRESS) as client:
        assert graph_on(SessionsSaver(client)).get_state(configs[0]).values["said"][-1] == "yes"


def test_no_query_sorts_the_content_of_checkpoints(
    written: tuple[Path, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = written
    connect, queries = sqlite3.connect, list[str]()

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        made = connect(*arguments, **options)
        made.set_trace_callback(queries.append)
        return made

    monkeypatch.setattr(sqlite3, "connect", traced)
    imported(file)
    with closing(connect(file)) as own:
        plans = [
            " ".join(step[3] for step in own.execute(f"EXPLAIN QUERY PLAN {query}"))
            for query in queries
            if query.startswith("SELECT")
        ]
    sorting = [plan for plan in plans if "TEMP B-TREE FOR ORDER BY" in plan]
    assert sorting
    assert all("COVERING INDEX" in plan for plan in sorting), sorting


def test_an_interrupted_import_continues_where_it_stopped(
    written: tuple[Path, list[dict[str, Any]]],
) -> None:
    file, configs = written
    with pytest.raises(KeyboardInterrupt):
        imported(file, most=5)
    assert imported(file)[-1] == Outcome.IMPORTED
    assert_same(file, configs)


def test_writes_that_a_checkpoint_got_after_an_earlier_import_follow(tmp_path: Path) -> None:
    file, config = tmp_path / "graph.db", {"configurable": {"thread_id": str(uuid.uuid4())}}
    with SqliteSaver.from_conn_string(str(file)) as saver:
        graph_on(saver).invoke({"said": []}, config)
        saver.conn.execute("CREATE TABLE later AS SELECT * FROM writes")
        saver.conn.execute("DELETE FROM writes")
        saver.conn.commit()
    assert imported(file) == [Outcome.IMPORTED]
    with SqliteSaver.from_conn_string(str(file)) as saver:
        saver.conn.execute("INSERT INTO writes SELECT * FROM later")
        saver.conn.commit()
    assert imported(file) == [Outcome.IMPORTED]
    assert_same(file, [config])
    with Client(ADDRESS) as client:
        assert graph_on(SessionsSaver(client)).get_state(config).interrupts
    assert imported(file) == [Outcome.PRESENT]


def test_values_of_unknown_types_are_kept(tmp_path: Path) -> None:
    (tmp_path / "only_theirs.py").write_text(
        "from dataclasses import dataclass\n\n@dataclass\nclass Thing:\n    name: str\n", encoding="utf-8"
    )
    name, file = str(uuid.uuid4()), tmp_path / "graph.db"
    write = (
        "import sys; from only_theirs import Thing\n"
        "from langgraph.checkpoint.base import empty_checkpoint\n"
        "from langgraph.checkpoint.sqlite import SqliteSaver\n"
        "with SqliteSaver.from_conn_string(sys.argv[1]) as saver:\n"
        "    config = {'configurable': {'thread_id': sys.argv[2], 'checkpoint_ns': ''}}\n"
        "    values = {'channel_values': {'c': [Thing('kept')]}, 'channel_versions': {'c': '1'}}\n"
        "    saver.put(config, {**empty_checkpoint(), **values}, {}, {'c': '1'})\n"
    )
    subprocess.run([sys.executable, "-c", write, str(file), name], cwd=tmp_path, check=True)
    assert imported(file) == [Outcome.IMPORTED]
    read = (
        "import sys; from sessions_client import Client\n"
        "from sessions_client.integrations.langgraph import SessionsSaver\n"
        "with Client(sys.argv[1]) as client:\n"
        "    found = SessionsSaver(client).get_tuple({'configurable': {'thread_id': sys.argv[2]}})\n"
        "    print(found.checkpoint['channel_values'])\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", read, ADDRESS, name]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stdout == "{'c': [Thing(name='kept')]}\n"


class OwnSerializer(JsonPlusSerializer):
    """A program's own serializer, whose types no other program knows."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        return "their own kind", super().dumps_typed(obj)[1]


def test_a_checkpoint_that_only_its_writer_can_read_is_named(tmp_path: Path) -> None:
    name, file = str(uuid.uuid4()), tmp_path / "graph.db"
    with closing(sqlite3.connect(file)) as connection:
        config = {"configurable": {"thread_id": name, "checkpoint_ns": ""}}
        SqliteSaver(connection, serde=OwnSerializer()).put(config, empty_checkpoint(), {}, {})
    with pytest.raises(UnusableSource, match=f"of thread '{name}' is stored as 'their own kind'"):
        imported(file)


def test_the_program_says_what_it_did_and_what_is_wrong(
    written: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    def run(file: Path) -> subprocess.CompletedProcess[str]:
        command = [*PROGRAM, str(file), "--target", ADDRESS]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    ended = run(written[0])
    assert (ended.returncode, ended.stdout) == (0, "3 imported, 0 already there, 0 different.\n")
    (tmp_path / "text.db").write_text("no database" * 100)
    for file, what in ((tmp_path / "none.db", "no file"), (tmp_path / "text.db", "does not have the tables")):
        ended = run(file)
        assert ended.returncode == 1
        assert what in ended.stderr
        assert "Traceback" not in ended.stderr
