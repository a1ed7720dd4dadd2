"""What `sessions-task run` shows on standard error: a screen on a terminal, lines in a pipe."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sessions_tasks._progress import OnProgress, Progress, ProgressKind

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Text from a model or session with terminal control characters escaped."""
    return _CONTROLS.sub("�", text)


def show_line(progress: Progress) -> None:
    """One line for each finished step and each logged line."""
    if progress.kind in (ProgressKind.TEXT, ProgressKind.STARTED):
        return
    words = (str(progress.kind), progress.key, progress.step, progress.text)
    sys.stderr.write(" ".join(filter(None, words)).replace("\n", " ") + "\n")
    sys.stderr.flush()


@contextmanager
def screen() -> Iterator[OnProgress]:
    """Shows the current step, the finished ones, and a model's response as it arrives."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    with console.status("starting") as status:
        shown = _Screen(console, status)
        yield shown.show
        shown.end_text()


class _Screen:
    def __init__(self, console: Console, status: Status) -> None:
        self._console, self._status = console, status
        self._in_text = False

    def show(self, progress: Progress) -> None:
        step = printable(" ".join(filter(None, (progress.key, progress.step, progress.text))))
        if progress.kind is ProgressKind.TEXT:
            self._show_text(progress.text)
            return
        self.end_text()
        match progress.kind:
            case ProgressKind.STARTED:
                self._status.update(step)
            case ProgressKind.FINISHED:
                self._console.print(f"✓ {step}", style="green")
            case ProgressKind.SKIPPED:
                self._console.print(f"✓ {step} (done before)", style="dim")
            case ProgressKind.LOG:
                self._console.print(printable(progress.text))
            case ProgressKind.CALL:
                self._console.print(f"  calls {printable(progress.text)}", style="cyan")
            case ProgressKind.RETRY:
                self._console.print("  the answer was cut off; asking again", style="yellow")

    def _show_text(self, text: str) -> None:
        if not self._in_text:
            self._status.stop()
            self._in_text = True
        self._console.out(printable(text), end="")

    def end_text(self) -> None:
        """Continues below a model's response."""
        if self._in_text:
            self._console.out("")
            self._in_text = False
            self._status.start()
