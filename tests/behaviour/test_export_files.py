"""The export file format: the server's command, the client and `sessions` read each other's files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from sessions_client import Client, InvalidArgument, RecordName, Scope, SessionData, ops
from sessions_server.domain.transfer import Checker, decode_record
from tests.support.command_line import line_of, run_here, sentence_of
from tests.support.server import sqlite_url, start_server

if TYPE_CHECKING:
    from subprocess import CompletedProcess

ID: Final = "full"


def fill(client: Client, id_: str = ID, *, encrypted: bool = False) -> None:
    """A session with content of every kind."""
    client.sessions.create(
        "u",
        session_id=id_,
        metadata={"device": "web", "n": 1.5, "deep": {"a": [True, None, "ü"]}},
        config={"timeout": 3600.5, "max_messages": 7, "context_window": 3, "overflow": "truncate_turns"},
        storage_options={"ttl": 86_400, "expiry_action": "archive", "encryption": encrypted},
    )
    client.sessions.start(id_)
    client.sessions.set_context(id_, context={"a": [1, None, {"b": "ü\u0000\u2028"}], "zero": -0.0, "f": 0.1})
    client.sessions.add_messages(
        id_,
        messages=[
            {"role": "user", "content": "text\n"},
            {"role": "tool", "tool_call_id": "c", "name": "n", "data": {"parts": [1, 2.5]}, "metadata": {}},
            {"role": "user", "content": "", "timestamp": "1969-12-31T23:59:59.123456789Z"},
        ],
    )
    client.sessions.add_message(id_, payload=b"\x00\xff", payload_type="application/octet-stream")
    scope = Scope(session_id=id_)
    client.sessions.commit(
        id_,
        ops.put(
            RecordName(scope, ("a", "b"), "k"),
            b"\x00\xff",
            labels={"l": 1},
            value_type="t/p",
            ttl=9_000,
        ),
        ops.put(RecordName(scope, "a", "plain"), b""),
    )


def visible(data: SessionData) -> list[Any]:
    """The content of an export, without its time and the log's identity."""
    *records, footer = data.to_dict()["records"]
    header = records[0]["header"]
    del header["export_time"], header["session"]["last_sequence"], header["session"]["etag"]
    for record in records:
        for message in record.get("messages", {}).get("messages", ()):
            del message["sequence"]
    del footer["footer"]["sha256"]
    return [*records, footer]


class Place(NamedTuple):
    folder: Path
    full: SessionData
    """An export by the client."""
    dump: bytes
    """A later export by the server's command, with more sessions."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("place")
    run_here("keyring", "new", "keyring", folder=folder)
    env = {"SESSIONS_KEYRING": str(folder / "keyring")}
    with start_server(folder, env=env) as server, Client(server.address) as client:
        fill(client)
        client.sessions.create("u", session_id="small")
        full = client.sessions.export(ID)
    done = command("export", "dump", folder=folder, keyring=folder / "keyring")
    assert line_of(done) == "dump holds 2 sessions"
    return Place(folder, full, (folder / "dump").read_bytes())


def command(*arguments: str, folder: Path, keyring: Path | None = None) -> CompletedProcess[str]:
    env = {"SESSIONS_DATABASE_URL": sqlite_url(folder)}
    if keyring is not None:
        env["SESSIONS_KEYRING"] = str(keyring)
    return run_here(*arguments, folder=folder, env=env)


def test_clients_write_and_read_the_servers_file_format(place: Place) -> None:
    full, small = SessionData.all_from_json(place.dump)
    assert visible(full) == visible(place.full)
    assert small.session.id == "small"
    with Client(":memory:") as client:
        client.sessions.import_("again", session_data=full)
        again = client.sessions.export("again")
    assert again.context == full.context
    assert [(m.id, m.payload, m.data, m.timestamp) for m in again.messages] == [
        (m.id, m.payload, m.data, m.timestamp) for m in full.messages
    ]


WRITTEN: Final[dict[str, Callable[[SessionData], str]]] = {
    "lines": SessionData.to_json_lines,
    "document": SessionData.to_json,
    "indented document": lambda data: data.to_json(indent=2),
}


@pytest.mark.parametrize("form", WRITTEN)
def test_the_servers_command_reads_what_clients_write(place: Place, tmp_path: Path, form: str) -> None:
    text = WRITTEN[form](place.full)
    assert SessionData.from_json(text) == place.full
    (tmp_path / "file").write_text(text, encoding="utf-8")
    assert line_of(command("import", "file", folder=tmp_path)).startswith("Sessions imported: 1,")
    assert line_of(command("export", "dump", folder=tmp_path)) == "dump holds 1 sessions"
    assert visible(SessionData.from_json((tmp_path / "dump").read_bytes())) == visible(place.full)


def test_only_the_server_imports_encrypted_sessions_of_its_file(place: Place, tmp_path: Path) -> None:
    keyring = place.folder / "keyring"
    with (
        start_server(tmp_path, env={"SESSIONS_KEYRING": str(keyring)}) as server,
        Client(server.address) as client,
    ):
        fill(client, encrypted=True)
    assert line_of(command("export", "dump", folder=tmp_path, keyring=keyring)) == "dump holds 1 sessions"
    with pytest.raises(
        InvalidArgument, match=r"encrypted session, .* import it with `sessions-server import`"
    ):
        SessionData.all_from_json((tmp_path / "dump").read_bytes())


def test_a_truncated_or_altered_file_is_refused(place: Place, tmp_path: Path) -> None:
    text, document = place.full.to_json_lines(), place.full.to_json()
    lines = text.splitlines(keepends=True)
    for cut in (lines[:1], lines[:-1], [*lines[:-1], lines[-1][:-1]], [*lines, "more"]):
        with pytest.raises(InvalidArgument, match="is incomplete; export it again"):
            SessionData.from_json("".join(cut))
    with pytest.raises(InvalidArgument, match="was altered after the export"):
        SessionData.from_json(text.replace('"n":1.5', '"n":2.5'))
    with pytest.raises(InvalidArgument, match="holds 2 sessions"):
        SessionData.from_json(twice(lines))
    (tmp_path / "file").write_text(document[:-3])
    sentence = sentence_of(command("import", "file", folder=tmp_path))
    assert sentence.startswith("file is not as it was exported")


def twice(lines: list[str]) -> str:
    body = "".join([lines[0], *lines[1:-1], *lines[1:-1]])
    end = {"end": {"count": 2, "sha256": hashlib.sha256(body.encode()).hexdigest()}}
    return f"{body}{json.dumps(end)}\n"


def test_a_file_of_the_first_release_is_read(tmp_path: Path) -> None:
    written = [
        ["header", 1, FIRST_SESSION, 1_700_000_003_000_000],
        ["context", {"n": 1}],
        ["messages", [["m1", 2, 1_700_000_001_000_000, {"role": "user", "content": "a"}]]],
    ]
    checker = Checker()
    for record in written:
        checker.take(decode_record(json.dumps(record).encode()))
    footer = checker.footer()
    written.append(["footer", footer.message_count, footer.record_count, footer.sha256.hex()])
    lines = ['["sessions-dump",2]', *(json.dumps(record, separators=(",", ":")) for record in written)]
    body = "".join(f"{line}\n" for line in lines)
    digest = hashlib.sha256(body.encode()).hexdigest()
    (tmp_path / "dump").write_text(f'{body}["end",1,"{digest}"]\n')
    assert line_of(command("import", "dump", folder=tmp_path)).startswith("Sessions imported: 1,")
    with start_server(tmp_path) as server, Client(server.address) as client:
        assert client.sessions.get("old").metadata == {"device": "web"}
        assert [message.content for message in client.sessions.get_history("old")] == ["a"]
        assert client.sessions.get_context("old") == {"n": 1}


FIRST_SESSION: Final[dict[str, Any]] = {
    "tenant": "default",
    "id": "old",
    "user_id": "u",
    "state": "active",
    "metadata": {"device": "web"},
    "config": [3_600_000_000, 0, 0, "truncate_oldest"],
    "storage": ["permanent", False, None, "retain"],
    "counters": [1, 2, 1, 1, 1],
    "times": [1_700_000_000_000_000, 1_700_000_001_000_000, 1_700_000_001_000_000, None, None, None],
    "expiry_reason": None,
}
"""In the form that `codec_v1` reads."""
