"""Runs the programs of docs/integrations.md as they are on the page, with the address of the server under test."""

from __future__ import annotations

import ast
import inspect
import os
import re
import textwrap
from collections.abc import Callable
from typing import Any

from tests.integrations.calls import PAGE


def program(section: str, number: int = 0) -> str:
    """One of a section's Python blocks."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")
    blocks = re.findall(r"^```python\n(.*?)^```$", rest.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
    return str(blocks[number]).replace("127.0.0.1:50051", os.environ["SESSIONS_TEST_ADDRESS"])


async def run(text: str, **names: Any) -> dict[str, Any]:
    """Runs a program at whose top level `await` is allowed. Returns its names."""
    result: object = eval(compile(text, PAGE.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if inspect.iscoroutine(result):
        await result
    return names


def function(text: str, **names: Any) -> Callable[[], Any]:
    """The function whose body a program is."""
    exec(f"def body():\n{textwrap.indent(text, '    ')}", names)
    body: Callable[[], Any] = names["body"]
    return body
