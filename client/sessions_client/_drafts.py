"""Messages while they are being written: what a subscriber sees of them, and how far a writer has sent them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sessions_client._json_form import Model


class DraftState(StrEnum):
    """Whether a draft is still being written."""

    WRITING = "writing"
    DISCARDED = "discarded"
    """It ended without a message."""
    ABANDONED = "abandoned"
    """Its writer was silent for too long, or its server is gone. The writer may begin it again."""


class Abandon(StrEnum):
    """What happens to a draft whose writer falls silent or fails."""

    DISCARD = "discard"
    COMMIT = "commit"
    """The text so far becomes the message, with `interrupted: true` in its metadata."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftUpdate(Model):
    """A message that is being written, with its text so far. The draft ends with the `message` event of the same id, or
    with a state other than `writing`."""

    session_id: str
    message_id: str
    """The id that the message will have."""
    role: str
    name: str | None
    part: str
    """Empty: the content of the message. Other parts, such as `reasoning`, are shown and not stored."""
    text: str
    """The text of the part so far; empty when the draft has ended without a message."""
    added: str
    """What this update added to it; the whole text when the part begins again."""
    state: DraftState


class DraftTexts:
    """Joins the pieces of a session's drafts. Joining the same piece twice changes nothing."""

    def __init__(self) -> None:
        self._texts: dict[tuple[str, str], tuple[str, int]] = {}
        """The text of each part, and the position of its end."""

    def join(self, message_id: str, part: str, *, start: int, end: int, text: str) -> str:
        """The text of the part with another piece; one that begins at 0 replaces it."""
        known, reached = self._texts.get((message_id, part), ("", 0))
        if not start:
            known = text
        elif end > reached:
            known += text
        self._texts[message_id, part] = known, end
        return known

    def end(self, message_id: str) -> None:
        """Forgets a draft that has ended."""
        for key in [each for each in self._texts if each[0] == message_id]:
            del self._texts[key]

    def clear(self) -> None:
        """Forgets everything: a new stream shows each draft from its beginning."""
        self._texts.clear()


class DraftPart:
    """What was written of a part, and how far the server has it. The server's positions are opaque."""

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
        """All that was written."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    @property
    def is_sent(self) -> bool:
        """Whether the server has all of it."""
        return self._sent == self._size

    def piece(self) -> tuple[int, str]:
        """The next piece to send: its position, and the text from there."""
        return self._position, self.text[self._sent :]

    def sent(self, text: str, *, position: int) -> None:
        """The server answered a piece with this position. One before that of the piece means a gap, as at a server that
        has taken the draft over: it gets the text from the beginning, and passes over what it has."""
        if position < self._position:
            self._position = self._sent = 0
        else:
            self._position, self._sent = position, self._sent + len(text)
