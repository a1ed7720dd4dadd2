"""The names visible to templates at a point of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sessions_tasks._rendering import LAST


@dataclass(frozen=True)
class Scope:
    """The values of the names. Outputs are never modified afterwards."""

    inputs: Any
    env: Mapping[str, str]
    last: Any = None
    steps: tuple[Any, ...] = ()
    """The outputs of the finished top-level steps of the workflow."""
    more: Mapping[str, Any] = field(default_factory=dict)
    depth: int = 0
    """How many workflows surround this one."""

    def after(self, output: Any) -> Scope:
        """The scope of the next step of the workflow."""
        return replace(self, last=output, steps=(*self.steps, output))

    def inside(self, last: Any, **more: Any) -> Scope:
        """The scope of the first step of an inner block."""
        return replace(self, last=last, more={**self.more, **more})

    def names(self, text: str) -> dict[str, Any]:
        """The values of the names that a text uses; sending all with each template would be slow."""
        steps = [{"output": each} for each in self.steps] if "steps" in text else []
        known = {LAST: self.last, "inputs": self.inputs, "steps": steps, "env": self.env, **self.more}
        return {name: value for name, value in known.items() if name in text}
