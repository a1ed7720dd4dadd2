"""Progress reports of a run."""

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
    """A piece of a model's response."""
    RETRY = "retry"
    """A model's response was cut off and is requested again; the text so far is void."""
    CALL = "call"
    """A model calls a tool; `text` is its name."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One event of a step."""

    kind: ProgressKind
    key: str
    """The step's path from its workflow, such as `main.2.then.0`."""
    step: str
    """The step's kind, such as `prompt`."""
    text: str = ""


OnProgress: TypeAlias = Callable[[Progress], object]
