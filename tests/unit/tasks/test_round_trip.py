"""A task that is printed and loaded again is equal, whatever its steps.

TASK_TREES=5000 tests that many random tasks.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given, settings, strategies as st

from sessions_tasks import load_task, print_task
from sessions_tasks._model import EVENT_TYPES, STEPS
from sessions_tasks._yaml import Node, read_yaml, write_yaml

AWKWARD = [
    "yes",
    "on",
    "no",
    "012",
    "0o17",
    "1e3",
    "1:30",
    "~",
    "null",
    "<<",
    "=",
    "- x",
    "a: b",
    "#",
    "'",
    '"',
]
AWKWARD += ["!x", "\x85", "a\x85b", "a\u2028b", " \u2029", "\ufeff", "a\n\nb ", "\t", "---", "..."]
"""Strings that some version of YAML reads as something else."""
KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=8) | st.sampled_from(AWKWARD)
PLAIN_TEXT = (st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(AWKWARD)).filter(
    lambda text: not any(marker in text for marker in ("{{", "{%", "{#"))
)
TEMPLATES = st.sampled_from(
    ["_", "{{ inputs.x }}", " {{ _.a[0] }} ", "{{ 1 }}{{ 2 }}", "x {% if _ %}y{% endif %}\n", "{# note #}"]
)
TEXT = PLAIN_TEXT | TEMPLATES
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
EXPRESSIONS = (
    st.sampled_from(["inputs.x > 1", "{{ _ }}", "_", "true"]) | st.booleans() | st.lists(SCALARS, max_size=2)
)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,10}", fullmatch=True)
PARALLELISM = st.integers(1, 100)


def mapping(needed: dict[str, Any], optional: dict[str, Any] | None = None) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(needed, optional=optional or {})


def steps(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Each kind of step, with blocks of `inner` inside it."""
    block = inner | st.lists(inner, max_size=3)
    message = mapping(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": VALUES}, {"name": PLAIN_TEXT}
    )
    of_model = mapping(
        {}, {"temperature": st.floats(0, 2), "max_tokens": st.integers(1, 9), "stop": PLAIN_TEXT}
    )
    prompt = {"model": PLAIN_TEXT, "tools": st.sampled_from(["all", [], ["say"]]), "history": st.booleans()}
    case = mapping({"case": EXPRESSIONS, "then": st.lists(inner, min_size=1, max_size=2)})
    events = st.sampled_from(EVENT_TYPES)
    arguments = st.dictionaries(KEYS, VALUES, max_size=2)
    wait = mapping(
        {"session_id": VALUES},
        {"event_types": events | st.lists(events, max_size=2), "until": EXPRESSIONS, "timeout": EXPRESSIONS},
    )
    return st.one_of(
        mapping({"tool": st.just("say"), "arguments": st.just({"session_id": "s", "role": "_", "content": "_"})}),
        mapping({"prompt": st.text(min_size=1).filter(str.isalpha) | st.lists(message, min_size=1, max_size=2)},
                {**prompt, "settings": of_model, "session_id": VALUES}),
        mapping({"evaluate": VALUES}),
        mapping({"if": EXPRESSIONS, "then": block}, {"else": block}),
        mapping({"switch": st.lists(case, min_size=1, max_size=2)}),
        mapping({"foreach": mapping({"in": EXPRESSIONS, "do": block}, {"parallelism": PARALLELISM})}),
        mapping({"over": EXPRESSIONS, "map": block},
                {"reduce": st.just("results + [_]"), "initial": VALUES, "parallelism": PARALLELISM}),
        mapping({"parallel": st.lists(block, max_size=3)}),
        mapping({"wait": wait}),
        mapping({"yield": mapping({"workflow": st.just("helper")}, {"arguments": arguments})}),
        mapping({"error": VALUES}),
        mapping({"log": VALUES}),
    )  # fmt: skip


TREES = st.recursive(st.builds(lambda value: {"evaluate": value}, VALUES), steps, max_leaves=8)
SAY = {"name": "say", "system": {"resource": "agent", "subresource": "session", "operation": "add_message"}}
TASKS = mapping(
    {
        "tools": st.just([SAY]),
        "main": st.lists(TREES, min_size=1, max_size=4) | TREES,
        "helper": st.lists(TREES, max_size=2),
    },
    {
        "name": PLAIN_TEXT,
        "description": PLAIN_TEXT,
        "env": st.lists(NAMES, max_size=2),
        "input_schema": st.just({"type": "object"}),
    },
)


@settings(max_examples=int(os.environ.get("TASK_TREES", "100")))
@given(TASKS)
def test_any_task_loads_prints_and_loads_equal(plain: dict[str, Any]) -> None:
    task = load_task(write_yaml(plain))
    again = load_task(print_task(task))
    assert again == task
    assert print_task(again) == print_task(task)


def test_every_kind_of_step_is_among_them() -> None:
    inner = st.just({"log": "x"})
    made = {kind for kind in STEPS if _gives(steps(inner), kind)}
    # A step that ends the workflow is not generated, since it is not allowed everywhere.
    assert made == STEPS.keys() - {"return"}


def _gives(step: st.SearchStrategy[Any], kind: str) -> bool:
    return any(kind in repr(branch) for branch in step.branches)


@settings(max_examples=int(os.environ.get("TASK_TREES", "100")))
@given(VALUES)
def test_any_value_is_read_as_it_was_written(value: Any) -> None:
    assert read_yaml(write_yaml(value)).plain == value
    assert repr(read_yaml(write_yaml(value)).plain) == repr(value)


def test_a_task_is_equal_to_one_with_its_keys_elsewhere() -> None:
    one = load_task("main:\n  - {log: x}\n")
    other = load_task("\n\nmain:\n\n    - log: x\n")
    assert one == other
    assert one.main[0].mark != other.main[0].mark
    assert load_task("main: [log: y]\n") != one


def test_a_return_is_printed_too() -> None:
    text = "main:\n- if: _\n  then:\n  - return: '{{ inputs.x }}'\n"
    assert print_task(load_task(text)) == text


def test_scalars_are_those_of_yaml_1_2() -> None:
    text = "[yes, on, No, 012, 0o17, 0x1F, 1_000, 1:30, 2024-01-01, .inf, -1.5e3, ~, '', !!str 1, = ]"
    assert read_yaml(text).plain == [
        "yes", "on", "No", 12, 15, 31, "1_000", "1:30", "2024-01-01", float("inf"), -1500.0, None, "", "1", "=",
    ]  # fmt: skip


def test_aliases_and_merges_stand_for_what_they_name() -> None:
    node = read_yaml("a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd: {<<: [{z: 4}, *a]}\n")
    assert node.plain == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 2},
        "c": {"y": 3, "x": 1},
        "d": {"z": 4, "x": 1, "y": 2},
    }
    assert isinstance(node, Node)
