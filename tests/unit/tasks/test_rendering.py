"""The results of templates, and their limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sessions_tasks._errors import StepProblem
from sessions_tasks._renderer import Renderer

NAMES = {"_": {"count": 2, "names": ["a", "b"], "none": None, "text": "1"}, "inputs": {"x": "<é>"}}


@pytest.fixture
async def renderer() -> AsyncIterator[Renderer]:
    renderer = Renderer()
    yield renderer
    await renderer.aclose()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("no template", "no template"),
        ("_", NAMES["_"]),
        ("{{ _ }}", NAMES["_"]),
        ("{{ _.count + 1 }}", 3),
        (" {{ _.text }}\n", "1"),
        ("{{- _.names -}}", ["a", "b"]),
        ("{{ _.none }}", None),
        ("{{ _.count > 1 }}", True),
        ("{{ _.names | map('upper') }}", ["A", "B"]),
        ("{{ {'a': _.count} }}", {"a": 2}),
        ("{{ range(3) }}", [0, 1, 2]),
        ("{{ inputs.x }}", "<é>"),
        ("{{ _.count }}{{ _.count }}", "22"),
        ("n: {{ _.count }}\n", "n: 2\n"),
        ("{{ _.names }} {{ _.none }} {{ true }}", '["a", "b"] null true'),
        ("{{ inputs | tojson }}!", '{"x": "<é>"}!'),
        ("{% for n in _.names %}{{ loop.index }}{{ n }}{% endfor %}", "1a2b"),
        ({"a": ["{{ _.count }}", {"b": "_"}, 7]}, {"a": [2, {"b": NAMES["_"]}, 7]}),
    ],
)
async def test_a_value_is_rendered_and_keeps_its_type(renderer: Renderer, value: Any, expected: Any) -> None:
    assert await renderer.render(value, NAMES) == expected


async def test_an_expression_needs_no_braces(renderer: Renderer) -> None:
    assert await renderer.render("_.count > 1 and 'a' in _.names", NAMES, bare=True) is True
    assert await renderer.render("{{ _.count }}", NAMES, bare=True) == 2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{{ _.nothing }}", "there is no `nothing` in the value that it is taken from."),
        ("x {{ _.nothing.more }}", "there is no `nothing` in the value that it is taken from."),
        ("{{ ().__class__ }}", "access to attribute '__class__' of 'tuple' object is unsafe."),
        ("{{ _.names.append(1) }}", "access to attribute 'append' of 'list' object is unsafe."),
        ("{{ _.count / 0 }}", "division by zero."),
        ("{{ _.count * 1e308 }}", "a number of its value is not finite."),
        ("{{ ['\\ud800'] }}", "its text has half of a surrogate pair, which is not valid Unicode."),
        ("{{ {1: 2} }}", "a key of its value is 1, and JSON's keys are strings."),
        ("{{ _.text.upper }}", "its value is of the kind builtin_function_or_method, which is not JSON."),
        ("{{ [_.names[0] * 1000] * 5000 }}", "its value is larger than 4 MiB."),
        ("{{ 'x' * 10**9 }}", "it needs too much memory."),
        ("{{ range(10**7) }}", "Range too big."),
        ("{% for a in range(9999) %}{{ 'x' * 1000 }}{% endfor %}", "its text is larger than 4 MiB."),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}!", "it nests too deeply."),
    ],
)
async def test_templates_that_cannot_be_rendered_are_reported(
    renderer: Renderer, value: str, message: str
) -> None:
    with pytest.raises(StepProblem) as raised:
        await renderer.render(value, NAMES)
    assert str(raised.value).startswith("A template cannot be rendered: ")
    assert message.rstrip(".") in str(raised.value)
    assert await renderer.render("{{ _.count }}", NAMES) == 2


@pytest.mark.parametrize(
    "value",
    [
        "{% for a in range(9999) %}{% for b in range(30000) %}{% endfor %}{% endfor %}",
        "{{ 7 ** 12000000 % 10 }}",
    ],
)
async def test_a_template_that_takes_too_long_is_stopped_and_the_next_one_is_rendered(
    renderer: Renderer, value: str
) -> None:
    with pytest.raises(StepProblem, match="more than 2 seconds of processor time"):
        await renderer.render(value, NAMES)
    assert await renderer.render("{{ _.count }}", NAMES) == 2


async def test_the_total_output_of_a_run_is_bounded(renderer: Renderer) -> None:
    renderer._bytes_left = 3_000
    assert await renderer.render("{{ 'x' * 2000 }}", NAMES) == "x" * 2000
    with pytest.raises(StepProblem, match="The templates of the run made more than 1024 MiB"):
        await renderer.render("{{ 'x' * 2000 }}", NAMES)


async def test_templates_see_no_environment(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s")
    with pytest.raises(StepProblem, match="there is no `env`"):
        await renderer.render("{{ env.SECRET }}", NAMES)
