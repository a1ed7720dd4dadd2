"""What a run tells while it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class ProgressKind(StrEnum):
    """What happened."""

    STARTED = "started"
    FINISHED = "finished"
    SKIPPED = "skipped"
    """The step was done before the run was resumed."""
    LOG = "log"
    TEXT = "text"
    """A piece of a model's answer."""
    RETRY = "retry"
    """A model's answer was cut off and is asked for again; the text so far does not count."""
    CALL = "call"
    """A model calls a tool, which `text` names."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One thing that happened to a step."""

    kind: ProgressKind
    key: str
    """The step's path from its workflow, such as `main.2.then.0`."""
    step: str
    """The step's kind, such as `prompt`."""
    text: str = ""


OnProgress: TypeAlias = Callable[[Progress], object]
