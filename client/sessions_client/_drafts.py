"""Drafts: what a subscriber sees of them, and how much a writer has sent. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sessions_client._json_form import Model


class DraftState(StrEnum):
    """Whether a draft is still being written."""

    WRITING = "writing"
    DISCARDED = "discarded"
    """The draft ended without a message."""
    ABANDONED = "abandoned"
    """The writer was silent for too long, or its server is gone. The writer may start again."""


class Abandon(StrEnum):
    """What happens to a draft if its writer stops sending or fails."""

    DISCARD = "discard"
    COMMIT = "commit"
    """The text so far becomes the message, with `interrupted: true` in its metadata."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftUpdate(Model):
    """A message in progress, with its text so far. The draft ends with the `message` event of the same id, or with a
    state other than `writing`."""

    session_id: str
    message_id: str
    """The id of the resulting message."""
    role: str
    name: str | None
    part: str
    """Empty for the content of the message. Other parts, such as `reasoning`, are shown but not stored."""
    text: str
    """The text of the part so far; empty if the draft ended without a message."""
    added: str
    """What this update added; the whole text if the part starts again."""
    state: DraftState


class DraftTexts:
    """Joins the pieces of a session's drafts. Joining a piece twice has no further effect."""

    def __init__(self) -> None:
        self._texts: dict[tuple[str, str], tuple[str, int]] = {}
        """The text of each part and the position of its end."""

    def join(self, message_id: str, part: str, *, start: int, end: int, text: str) -> str:
        """The text of the part including another piece; a piece that starts at 0 replaces the text."""
        known, reached = self._texts.get((message_id, part), ("", 0))
        if not start:
            known = text
        elif end > reached:
            known += text
        self._texts[message_id, part] = known, end
        return known

    def end(self, message_id: str) -> None:
        """Discards a draft that has ended."""
        for key in [each for each in self._texts if each[0] == message_id]:
            del self._texts[key]

    def clear(self) -> None:
        """Discards everything: a new stream shows each draft from the beginning."""
        self._texts.clear()


class DraftPart:
    """The text written to a part, and how much of it the server has. The server's positions are opaque."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._size = 0
        self._sent = 0
        """How many characters the server has."""
        self._position = 0

    def append(self, text: str) -> None:
        self._pieces.append(text)
        self._size += len(text)

    @property
    def text(self) -> str:
        """All text written so far."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    @property
    def is_sent(self) -> bool:
        """Whether the server has all of it."""
        return self._sent == self._size

    def piece(self) -> tuple[int, str]:
        """The next piece to send: its position, and the remaining text."""
        return self._position, self.text[self._sent :]

    def sent(self, text: str, *, position: int) -> None:
        """Records the server's response to a piece. A position before that of the piece means that the server has a
        gap, for example because it took over the draft: it then gets the text from the beginning, and skips what it
        has."""
        if position < self._position:
            self._position = self._sent = 0
        else:
            self._position, self._sent = position, self._sent + len(text)
