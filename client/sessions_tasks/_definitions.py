"""Definitions of the tools for the models of several providers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from sessions_tasks._operations import TOOLS, Operation

Format: TypeAlias = Literal["openai", "anthropic", "mcp"]


def tool_definitions(
    format: Format = "openai", *, tools: Iterable[str] | None = None
) -> list[dict[str, Any]]:
    """The definitions of the session tools, ready for a provider's API.

    `openai` is the `tools` of chat completions, `anthropic` the `tools` of messages, `mcp` the result of `tools/list`.
    `tools` selects some by name, such as `["get_session", "add_message"]`; by default all are returned. Run the model's
    calls with `call_tool`. Raises ValueError for an unknown format or name.
    """
    names = list(TOOLS) if tools is None else list(tools)
    for name in names:
        if name not in TOOLS:
            raise ValueError(f"There is no tool `{name}`. The tools are {', '.join(TOOLS)}.")
    return [definition(format, name, TOOLS[name]) for name in names]


def definition(
    format: Format, name: str, operation: Operation, description: str | None = None
) -> dict[str, Any]:
    """One tool, under a name chosen by the caller."""
    said = description or operation.description
    match format:
        case "openai":
            function = {"name": name, "description": said, "parameters": operation.schema}
            return {"type": "function", "function": function}
        case "anthropic":
            return {"name": name, "description": said, "input_schema": operation.schema}
        case "mcp":
            hints = {
                "readOnlyHint": not operation.writes,
                "destructiveHint": operation.effect == "erases",
                "openWorldHint": False,
            }
            return {"name": name, "description": said, "inputSchema": operation.schema, "annotations": hints}
    raise ValueError(f"The format {format!r} is not known. It is one of openai, anthropic, mcp.")
