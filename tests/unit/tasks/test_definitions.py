"""The tool definitions are accepted by each provider, and derived from one table."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
from pydantic import TypeAdapter

from sessions_client import Sessions
from sessions_tasks import tool_definitions
from sessions_tasks._operations import OPERATIONS, TOOLS

SCHEMAS = {"openai": ("function", "parameters"), "anthropic": ("input_schema",), "mcp": ("inputSchema",)}
NAMES = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""What OpenAI accepts as a function's name; the others accept more."""


def published(format: str) -> TypeAdapter[Any]:
    """The format defined by a provider's own package. Loaded lazily: these packages take seconds to import."""
    match format:
        case "openai":
            from openai.types.chat import ChatCompletionFunctionToolParam

            return TypeAdapter(ChatCompletionFunctionToolParam)
        case "anthropic":
            from anthropic.types import ToolParam

            return TypeAdapter(ToolParam)
        case _:
            from mcp.types import Tool

            return TypeAdapter(Tool)


@pytest.mark.parametrize("format", SCHEMAS)
def test_each_definition_has_the_form_published_by_the_provider(format: Any) -> None:
    definitions, form = tool_definitions(format), published(format)
    assert len(definitions) == len(OPERATIONS)
    for each in definitions:
        form.validate_python(each, extra="forbid")
        assert json.loads(json.dumps(each)) == each
        named = each["function"] if format == "openai" else each
        assert NAMES.fullmatch(named["name"])
        assert 0 < len(named["description"]) <= 1024
        schema = each
        for key in SCHEMAS[format]:
            schema = schema[key]
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
        # Anthropic refuses these at the root of a schema: https://docs.claude.com/en/docs/agents-and-tools/tool-use
        assert not schema.keys() & {"anyOf", "oneOf", "allOf"}
        assert set(schema["required"]) <= schema["properties"].keys()
        assert all("description" in one or "enum" in one for one in schema["properties"].values())


def test_the_table_has_every_operation_of_the_guide_and_each_is_a_method_of_the_client() -> None:
    assert list(OPERATIONS) == [
        "get", "list", "search", "create", "update", "delete", "start", "pause", "resume", "end", "archive",
        "get_context", "set_context", "update_context", "add_message", "get_history", "clear_history",
        "export", "import",
    ]  # fmt: skip
    assert all(hasattr(Sessions, "import_" if name == "import" else name) for name in OPERATIONS)
    assert len(TOOLS) == len(OPERATIONS)


def test_tools_can_be_selected() -> None:
    chosen = tool_definitions("anthropic", tools=["get_history", "add_message"])
    assert [each["name"] for each in chosen] == ["get_history", "add_message"]


def test_hints_describe_what_a_tool_may_do() -> None:
    hints = {each["name"]: each["annotations"] for each in tool_definitions("mcp")}
    assert hints["get_session"]["readOnlyHint"]
    assert not hints["add_message"]["readOnlyHint"]
    erasing = [name for name, each in hints.items() if each["destructiveHint"]]
    assert erasing == ["delete_session", "set_context", "clear_history", "import_session"]


def test_unknown_names_are_reported() -> None:
    with pytest.raises(ValueError, match=r"There is no tool `get`\. The tools are get_session"):
        tool_definitions(tools=["get"])
    with pytest.raises(
        ValueError, match=r"The format 'xml' is not known\. It is one of openai, anthropic, mcp\."
    ):
        tool_definitions("xml")  # type: ignore[arg-type]  # that is the test
