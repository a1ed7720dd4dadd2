"""Each command on a pipe: its output for programs, and its effect."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.support.terminals import Shell

Create = Callable[..., str]


def test_create_prints_the_session_itself(shell: Shell, user: str) -> None:
    given = [
        "--user",
        user,
        "--id",
        f"{user}-1",
        "-m",
        '{"device": "web"}',
        "--set",
        "vip=true",
        "--timeout",
        "30m",
    ]
    done = shell.run("create", *given, "--ttl", "7d", "--max-messages", "10", "--start", "-o", "json")
    session = json.loads(done.stdout)
    assert (session["id"], session["state"], session["user_id"]) == (f"{user}-1", "active", user)
    assert session["metadata"] == {"device": "web", "vip": True}
    assert (session["config"]["timeout"], session["config"]["max_messages"]) == (1800, 10)
    assert session["storage_options"]["ttl"] == 7 * 86400


def test_a_taken_id_is_shown_with_or_get(shell: Shell, user: str, create: Create) -> None:
    id_ = create("--id", f"{user}-1")
    assert shell.run("create", "--user", user, "--id", id_).returncode == 4
    assert json.loads(shell.run("create", "--user", user, "--id", id_, "--or-get").stdout)["id"] == id_


def test_a_session_is_shown_as_it_was_after_an_event(shell: Shell, create: Create) -> None:
    id_ = create("--start")
    assert json.loads(shell.run("get", id_, "--at", "1").stdout)["state"] == "created"
    assert json.loads(shell.run("get", id_).stdout)["state"] == "active"


def test_lists_print_a_line_for_each_session(shell: Shell, user: str, create: Create) -> None:
    ids = [create() for _ in range(3)]
    done = shell.run("list", "--user", user)
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ids[::-1]
    assert shell.run("list", "--user", user, "-n", "2", "-o", "id").stdout.split() == ids[:0:-1]
    assert len(json.loads(shell.run("list", "--user", user, "-o", "json").stdout)) == 3
    assert len(yaml.safe_load(shell.run("list", "--user", user, "-o", "yaml").stdout)) == 3


def test_fields_are_chosen_by_path(shell: Shell, user: str, create: Create) -> None:
    create("--set", "device=web")
    done = shell.run("list", "--user", user, "--fields", "state,metadata.device,metadata.none")
    assert json.loads(done.stdout) == {"state": "created", "metadata.device": "web", "metadata.none": None}


def test_search_takes_the_filters_of_the_service(shell: Shell, user: str, create: Create) -> None:
    web, _ = create("--set", "device=web"), create("--set", "device=tv")
    assert shell.run("search", '{"device": {"$in": ["web"]}}', "-u", user, "-o", "id").stdout.split() == [web]


def test_update_sets_and_removes_single_keys(shell: Shell, create: Create) -> None:
    id_ = create("-m", '{"a": 1, "b": 2}')
    done = shell.run("update", id_, "--set", "c=three", "--unset", "a", "--context-window", "5", "-o", "json")
    changed = json.loads(done.stdout)
    assert changed["metadata"] == {"b": 2, "c": "three"}
    assert changed["config"]["context_window"] == 5
    assert shell.run("update", id_).returncode == 2


def test_a_session_is_taken_through_its_lifecycle(shell: Shell, create: Create) -> None:
    id_ = create()
    states = [
        json.loads(shell.run(verb, id_, *more).stdout)["state"]
        for verb, *more in (["start"], ["pause"], ["resume"], ["end"], ["archive", "--yes"])
    ]
    assert states == ["active", "paused", "active", "ended", "archived"]
    refused = shell.run("start", id_)
    assert refused.returncode == 4
    assert "ARCHIVED" in refused.stderr


def test_messages_are_added_and_shown(shell: Shell, create: Create) -> None:
    id_ = create()
    shell.run("say", id_, "Hello")
    shell.run("say", id_, "-", "--role", "assistant", given="Good\nmorning")
    Path(shell.folder / "text").write_text("from a file")
    shell.run("say", id_, "@text")
    contents = [json.loads(line)["content"] for line in shell.run("history", id_).stdout.splitlines()]
    assert contents == ["Hello", "Good\nmorning", "from a file"]
    assert len(shell.run("history", id_, "--last", "1").stdout.splitlines()) == 1
    assert len(shell.run("history", id_, "--all", "-o", "id").stdout.splitlines()) == 3
    _, second, _ = (json.loads(line) for line in shell.run("history", id_).stdout.splitlines())
    then = shell.run("history", id_, "--all", "--at", str(second["sequence"]), "-o", "id")
    assert len(then.stdout.splitlines()) == 2


def test_the_context_is_read_and_changed(shell: Shell, create: Create) -> None:
    id_ = create()
    assert json.loads(shell.run("context", "set", id_, '{"a": {"b": 1}}').stdout) == {"a": {"b": 1}}
    assert json.loads(shell.run("context", "set", id_, "a.c", "two").stdout) == {"a": {"b": 1, "c": "two"}}
    assert json.loads(shell.run("context", "merge", id_, '{"d": null}').stdout)["d"] is None
    assert json.loads(shell.run("context", "get", id_, "a.b").stdout) == 1


def test_a_context_diff_shows_what_changed_since_an_event(shell: Shell, create: Create) -> None:
    id_ = create()
    shell.run("context", "set", id_, '{"task": "old", "same": 1}')
    shell.run("context", "set", id_, "task", "new")
    done = shell.run("context", "diff", id_, "2")
    assert '-  "task": "old"' in done.stdout
    assert '+  "task": "new"' in done.stdout
    assert '-  "same"' not in done.stdout


def test_a_fork_has_the_history_of_its_origin(shell: Shell, user: str, create: Create) -> None:
    id_ = create()
    shell.run("say", id_, "one")
    shell.run("say", id_, "two")
    made = json.loads(shell.run("fork", id_, "--at", "2", "--as", f"{user}-fork", "-o", "json").stdout)
    assert (made["id"], made["message_count"]) == (f"{user}-fork", 1)


def test_a_session_is_exported_to_a_file_and_imported(shell: Shell, user: str, create: Create) -> None:
    id_ = create("--set", "device=web")
    shell.run("say", id_, "Hello")
    assert shell.run("export", id_, "-f", "session.json").returncode == 0
    assert shell.run("export", id_, "-f", "session.json").returncode == 1
    assert shell.run("import", "session.json").returncode == 4
    made = json.loads(shell.run("import", "session.json", "--as", f"{user}-copy").stdout)
    assert (made["id"], made["metadata"], made["message_count"]) == (f"{user}-copy", {"device": "web"}, 1)
    through_a_pipe = shell.run("import", "-", "--replace", given=shell.run("export", id_).stdout)
    assert through_a_pipe.returncode == 0


def test_a_file_with_several_sessions_is_imported_whole(shell: Shell, create: Create) -> None:
    ids = [create("--set", f"n={number}") for number in range(2)]
    parts = [shell.run("export", id_).stdout.splitlines(keepends=True) for id_ in ids]
    body = "".join([parts[0][0], *parts[0][1:-1], *parts[1][1:-1]])
    end = json.dumps({"end": {"count": 2, "sha256": hashlib.sha256(body.encode()).hexdigest()}})
    refused = shell.run("import", "-", "--as", "one", given=f"{body}{end}\n")
    assert (refused.returncode, "holds 2 sessions; --as is for one" in refused.stderr) == (2, True)
    for id_ in ids:
        shell.run("delete", id_, "--yes")
    made = shell.run("import", "-", "-o", "jsonl", given=f"{body}{end}\n").stdout.splitlines()
    assert [json.loads(line)["metadata"] for line in made] == [{"n": 0}, {"n": 1}]
    assert [json.loads(line)["id"] for line in made] == ids


def test_deleting_without_a_terminal_needs_yes(shell: Shell, create: Create) -> None:
    id_ = create()
    refused = shell.run("delete", id_)
    assert refused.returncode == 2
    assert "Add --yes" in refused.stderr
    assert shell.run("delete", id_, "--yes").returncode == 0
    assert shell.run("get", id_).returncode == 3


def test_the_doctor_finds_nothing_wrong_with_a_healthy_server(shell: Shell) -> None:
    done = shell.run("doctor")
    assert done.returncode == 0, done.stdout
    assert "FAIL" not in done.stdout
