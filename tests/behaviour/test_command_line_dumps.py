"""Export files that may have been altered, truncated or mixed up, or are in use: all are refused entirely."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sessions_client import Client
from sessions_server.dump import lines as dump_lines
from tests.support.command_line import line_of, run, run_here, sentence_of, shown
from tests.support.server import sqlite_url, start_server
from tests.support.structs import nested

SESSIONS = 4
ALTERED = (
    "dump is not as it was exported: it was altered or damaged since. Export again, to another file, or take this one "
    "from a backup."
)


@dataclass(frozen=True)
class Place:
    """A folder with an export of a few sessions, and databases by name."""

    folder: Path

    @property
    def dump(self) -> Path:
        return self.folder / "dump"

    def lines(self) -> list[bytes]:
        return self.dump.read_bytes().splitlines(keepends=True)

    def write(self, lines: Sequence[bytes]) -> None:
        self.dump.write_bytes(b"".join(lines))

    def url(self, database: str) -> dict[str, str]:
        return {"SESSIONS_DATABASE_URL": f"sqlite+aiosqlite:///{self.folder / database}"}

    def said(self, *arguments: str | Path, database: str) -> str:
        return line_of(run_here(*arguments, folder=self.folder, env=self.url(database)))

    def complained(self, *arguments: str | Path, database: str) -> str:
        return sentence_of(run_here(*arguments, folder=self.folder, env=self.url(database)))

    def fill(self, database: str, ids: Sequence[str]) -> None:
        with start_server(self.folder, env=self.url(database)) as server, Client(server.address) as client:
            for session_id in ids:
                client.sessions.create(f"of {database}", session_id=session_id, metadata={"of": session_id})
                client.sessions.add_message(session_id, role="user", content=f"text of {session_id}")

    def erase(self, database: str, session_id: str) -> None:
        with start_server(self.folder, env=self.url(database)) as server, Client(server.address) as client:
            client.sessions.delete(session_id)

    def has_sessions(self, database: str) -> bool:
        return self.said("export", f"of-{database}", database=database) != f"of-{database} holds 0 sessions"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("original"))
    place.fill("a.db", [f"s{number}" for number in range(SESSIONS)])
    assert place.said("export", "dump", database="a.db") == f"dump holds {SESSIONS} sessions"
    return place


@pytest.fixture
def place(original: Place, tmp_path: Path) -> Place:
    for name in ("a.db", "dump"):
        (tmp_path / name).write_bytes((original.folder / name).read_bytes())
    return Place(tmp_path)


Lines = list[bytes]
Alter = Callable[[Lines], Lines]


def starts(lines: Lines) -> list[int]:
    """Where each session begins, and where the last one ends."""
    return [at for at, line in enumerate(lines) if line.startswith((b'{"header"', b'{"end"'))]


def without_the_second(lines: Lines) -> Lines:
    _, second, third, *_ = starts(lines)
    return lines[:second] + lines[third:]


def with_the_first_twice(lines: Lines) -> Lines:
    first, second, *_ = starts(lines)
    return lines[:second] + lines[first:]


def with_the_first_two_swapped(lines: Lines) -> Lines:
    first, second, third, *_ = starts(lines)
    return lines[:first] + lines[second:third] + lines[first:second] + lines[third:]


def with_another_count(lines: Lines) -> Lines:
    end = json.loads(lines[-1])
    end["end"]["count"] -= 1
    return [*lines[:-1], compact(end)]


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


ALTERATIONS: dict[str, Alter] = {
    "a session less": without_the_second,
    "a session twice": with_the_first_twice,
    "another order": with_the_first_two_swapped,
    "another count": with_another_count,
    "another tenant": lambda lines: [
        line.replace(b'"tenant":"default"', b'"tenant":"another"') for line in lines
    ],
    "another time": lambda lines: [line.replace(b'"create_time":"2', b'"create_time":"1') for line in lines],
    "other line ends": lambda lines: [lines[0], *(line.replace(b"\n", b"\r\n") for line in lines[1:])],
    "something behind the end": lambda lines: [*lines, b"more\n"],
}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_nothing_is_imported_from_an_altered_export(place: Place, name: str) -> None:
    altered = ALTERATIONS[name](place.lines())
    assert altered != place.lines()
    place.write(altered)
    assert place.complained("import", "dump", database="b.db") == ALTERED
    assert not place.has_sessions("b.db")


def sealed_again(lines: Lines) -> Lines:
    """Recomputes the last line to match the others."""
    kept, count = lines[:-1], json.loads(lines[-1])["end"]["count"]
    end = {"end": {"count": count, "sha256": hashlib.sha256(b"".join(kept)).hexdigest()}}
    return [*kept, compact(end)]


def in_first(kind: str, change: Callable[[Any], object]) -> Alter:
    """Changes the first record of a kind."""

    def alter(lines: Lines) -> Lines:
        at = next(at for at, line in enumerate(lines) if line.startswith(f'{{"{kind}"'.encode()))
        record = json.loads(lines[at])
        change(record)
        return [*lines[:at], json.dumps(record).encode() + b"\n", *lines[at + 1 :]]

    return alter


def session_in(line: Any) -> dict[str, Any]:
    found: dict[str, Any] = line["header"]["session"]
    return found


def message_in(line: Any) -> dict[str, Any]:
    found: dict[str, Any] = line["messages"]["messages"][0]
    return found


UNSOUND: dict[str, Alter] = {
    "a tenant that is a number": in_first("header", lambda it: it["moved"].update(tenant=5)),
    "a user that is nothing": in_first("header", lambda it: session_in(it).update(user_id=None)),
    "metadata that is a list": in_first("header", lambda it: session_in(it).update(metadata=[])),
    "a session that is a list": in_first("header", lambda it: it["header"].update(session=[])),
    "a time that is a text": in_first("header", lambda it: session_in(it).update(create_time="now")),
    "a time that is a number": in_first("header", lambda it: session_in(it).update(create_time=2**63)),
    "a time beyond all": in_first(
        "header", lambda it: session_in(it).update(create_time="9999-12-32T00:00:00Z")
    ),
    "a state of no kind": in_first("header", lambda it: session_in(it).update(state="ACTIVE")),
    "an etag beyond all": in_first("header", lambda it: session_in(it).update(etag="9" * 30)),
    "a span that is a number": in_first("header", lambda it: session_in(it)["config"].update(timeout=5)),
    "a version that is a truth": in_first("header", lambda it: it["header"].update(version=True)),
    "a context that is a number": in_first("context", lambda it: it["context"].update(data=5)),
    "metadata that no client can read": in_first(
        "header", lambda it: session_in(it).update(metadata=nested(33))
    ),
    "data that no client can read": in_first("messages", lambda it: message_in(it).update(data=nested(33))),
    "a content that is a list": in_first("messages", lambda it: message_in(it).update(content=[])),
    "a payload that is no base64": in_first("messages", lambda it: message_in(it).update(payload="*")),
    "a message without a time": in_first("messages", lambda it: message_in(it).pop("create_time")),
    "a message with more": in_first("messages", lambda it: message_in(it).update(more=1)),
    "a count that is a text": in_first("footer", lambda it: it["footer"].update(message_count="1")),
    "a record of no kind": in_first("context", lambda it: it.update(what=it.pop("context"))),
}


def too_deep(lines: Lines) -> Lines:
    return in_first("context", lambda it: it["context"].update(data=nested(300)))(lines)


def test_lines_that_nest_too_deeply_are_refused_with_a_sentence(place: Place) -> None:
    place.write(sealed_again(too_deep(place.lines())))
    assert place.complained("import", "dump", database="b.db") == (
        "Stopped at session s0 of tenant default: record: JSON nests at most 32 levels; make it flatter."
    )
    assert not place.has_sessions("b.db")


def test_a_document_that_nests_too_deeply_is_refused_with_a_sentence(place: Place) -> None:
    records = [json.loads(line) for line in too_deep(place.lines())[1:5]]
    place.write([json.dumps({"format": "sessions.v1.export", "records": records}).encode()])
    assert place.complained("import", "dump", database="b.db") == ALTERED


@pytest.mark.parametrize("name", UNSOUND)
def test_a_value_of_the_wrong_type_is_refused_despite_a_valid_digest(place: Place, name: str) -> None:
    place.write(sealed_again(UNSOUND[name](place.lines())))
    assert place.complained("import", "dump", database="b.db") == ALTERED
    assert not place.has_sessions("b.db")


def test_an_overlong_line_is_not_read_into_memory(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = max(map(len, place.lines()))
    monkeypatch.setattr(dump_lines, "LONGEST_LINE", longest)
    assert place.said("import", "dump", database="b.db").startswith(f"Sessions imported: {SESSIONS},")
    monkeypatch.setattr(dump_lines, "LONGEST_LINE", longest - 1)
    assert place.complained("import", "dump", database="c.db") == ALTERED
    place.write(place.lines()[:-1])
    assert place.complained("export", "dump", database="a.db") == ALTERED


def cut(place: Place, sessions: int) -> bytes:
    """Keeps whole sessions and part of the next; returns what remains in the file."""
    lines = place.lines()
    place.write(lines[: starts(lines)[sessions] + 1])
    return place.dump.read_bytes()


def test_a_truncated_export_resumes_only_with_its_own_database(place: Place) -> None:
    place.fill("b.db", ["s1", "s2", "s3"])
    begun = cut(place, 2)
    sentence = place.complained("export", "dump", database="b.db")
    assert sentence.startswith(
        "dump was begun with another database: session s0 of tenant default is missing or"
    )
    assert sentence.endswith("name another file, or the database that it was begun with.")
    place.fill("c.db", ["s0", "s1", "s2", "s3"])
    assert place.complained("export", "dump", database="c.db").startswith(
        "dump was begun with another database"
    )
    assert place.dump.read_bytes().startswith(begun[: begun.rindex(b'{"header"')])
    assert place.said("export", "dump", database="a.db") == f"dump holds {SESSIONS} sessions"
    assert place.said("import", "dump", database="d.db").startswith(f"Sessions imported: {SESSIONS},")


@pytest.mark.parametrize("erased", ["s0", "s1"])
def test_a_truncated_export_resumes_after_a_session_in_it_was_deleted(place: Place, erased: str) -> None:
    cut(place, 2)
    place.erase("a.db", erased)
    assert place.said("export", "dump", database="a.db") == f"dump holds {SESSIONS} sessions"


def test_two_commands_cannot_use_one_file_at_once(place: Place) -> None:
    cut(place, 2)
    before = place.dump.read_bytes()
    with place.dump.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for verb in ("export", "import"):
            sentence = sentence_of(run(verb, "dump", folder=place.folder, env=place.url("a.db")))
            assert sentence == (
                "Another command is using dump; wait until it has ended, or name another file."
            )
        assert place.dump.read_bytes() == before


def test_a_file_that_is_not_regular_is_refused(place: Place) -> None:
    os.mkfifo(place.folder / "pipe")
    for verb, name in (
        ("export", "pipe"),
        ("import", "pipe"),
        ("export", "/dev/null"),
        ("import", "/dev/zero"),
    ):
        assert place.complained(verb, name, database="a.db") == f"{name} is not a regular file; name a file."
    assert place.complained("import", ".", database="a.db") == ". is not a regular file; name a file."


def test_another_releases_file_is_distinguished_from_an_unrelated_one(place: Place) -> None:
    place.write([b'["sessions-dump",1]\n', *place.lines()[1:]])
    before = place.dump.read_bytes()
    for verb in ("export", "import"):
        sentence = place.complained(verb, "dump", database="a.db")
        assert sentence.startswith("dump was exported by another release of this program")
    assert place.dump.read_bytes() == before


def test_long_commands_show_progress_on_a_terminal(tmp_path: Path) -> None:
    keyring = tmp_path / "keyring"
    run_here("keyring", "new", keyring, folder=tmp_path)
    env = {"SESSIONS_KEYRING": str(keyring)}
    with start_server(tmp_path, env=env) as server, Client(server.address) as client:
        for _ in range(3):
            client.sessions.create("u", storage_options={"encryption": True})
    run_here("keyring", "rotate", keyring, folder=tmp_path)
    env["SESSIONS_DATABASE_URL"] = sqlite_url(tmp_path)
    assert re.search(r"rewrapping .*3/3", shown("keyring", "rewrap", folder=tmp_path, env=env))
    assert re.search(r"exporting sessions .*3/3", shown("export", "dump", folder=tmp_path, env=env))
    size = (tmp_path / "dump").stat().st_size
    env["SESSIONS_DATABASE_URL"] = f"sqlite+aiosqlite:///{tmp_path / 'other.db'}"
    assert re.search(rf"importing bytes .*{size}/{size}", shown("import", "dump", folder=tmp_path, env=env))


def damage(database: Path, session_id: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        statement = "UPDATE log SET payload = x'7b' WHERE session_id = ? AND message_id IS NOT NULL"
        assert connection.execute(statement, (session_id,)).rowcount
        connection.commit()


def test_a_damaged_session_is_named_and_the_rest_is_exported(place: Place) -> None:
    damage(place.folder / "a.db", "s1")
    lines = (
        f"rescued holds {SESSIONS - 1} sessions\n",
        "Session s1 of tenant default is damaged and not in the file; restore it from a backup.\n",
    )
    done = run_here("export", "rescued", folder=place.folder, env=place.url("a.db"))
    assert (done.returncode, done.stdout, done.stderr) == (1, *lines)

    rescued = place.folder / "rescued"
    kept = rescued.read_bytes().splitlines(keepends=True)
    damaged = next(number for number, line in enumerate(kept) if line.startswith(b'{"damaged"'))
    rescued.write_bytes(b"".join(kept[: damaged + 1]))
    again = run_here("export", "rescued", folder=place.folder, env=place.url("a.db"))
    assert (again.returncode, again.stdout, again.stderr) == (1, *lines), "an interrupted export names it too"
    assert [line for line in rescued.read_bytes().splitlines() if line.startswith(b'{"damaged"')] == [
        b'{"damaged":{"tenant":"default","session_id":"s1"}}'
    ]
    assert place.said("import", "rescued", database="b.db") == (
        f"Sessions imported: {SESSIONS - 1}, already there: 0, expired for good: 0"
    )
