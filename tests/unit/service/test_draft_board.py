"""What the viewers of a session's drafts see, and when."""

from __future__ import annotations

from sessions_server.domain.drafts import CONTENT, Abandon, Draft, DraftOpening, DraftState, Origin, Piece
from sessions_server.domain.models import Micros, Sequence, SessionKey
from sessions_server.service.draft_board import MOST_OVER, DraftBoard

LONG = 3600.0


class Screen:
    def __init__(self) -> None:
        self.pieces: list[Piece] = []

    async def show(self, piece: Piece) -> None:
        self.pieces.append(piece)

    @property
    def texts(self) -> list[str]:
        return [piece.text for piece in self.pieces]


def board_with(text: str) -> tuple[DraftBoard, Draft]:
    board = DraftBoard(SessionKey("default", "s"))
    opening = DraftOpening("m", "assistant", "", Abandon.DISCARD, Micros(60_000_000))
    draft = board.drafts["m"] = Draft(opening, Origin(1, "here"), Micros(0))
    draft.append(CONTENT, text)
    return board, draft


async def test_a_viewer_ahead_of_the_board_waits_for_it() -> None:
    board, _ = board_with("Hello")
    board.position = Sequence(4)
    screen = Screen()
    with board.view(screen.show, 0.0) as viewer:
        await viewer.show(Sequence(5))
        assert screen.texts == []
        board.move_to(Sequence(5))
        assert viewer.is_due
        await viewer.show(Sequence(5))
        assert screen.texts == ["Hello"]


async def test_no_piece_follows_a_message_that_the_board_has_not_read() -> None:
    board, draft = board_with("Hel")
    screen = Screen()
    with board.view(screen.show, 0.0) as viewer:
        await viewer.show(Sequence(0))
        draft.append(CONTENT, "lo")
        board.wake()
        viewer.pass_message("m")
        await viewer.show(Sequence(1))
        board.remove(draft, DraftState.DISCARDED)
        await viewer.show(Sequence(1))
        assert screen.texts == ["Hel"]


async def test_viewers_of_one_interval_are_woken_together_and_share_their_pieces() -> None:
    board, draft = board_with("Hel")
    first, second = Screen(), Screen()
    with board.view(first.show, LONG) as one, board.view(second.show, LONG) as other:
        for viewer in (one, other):
            await viewer.show(Sequence(0))
        board.wake()
        assert [viewer.is_due for viewer in (one, other)] == [True, True]
        for viewer in (one, other):
            await viewer.show(Sequence(0))
        draft.append(CONTENT, "lo")
        board.wake()
        assert [viewer.is_due for viewer in (one, other)] == [False, False]
        board.wake_now()
        for viewer in (one, other):
            await viewer.show(Sequence(0))
    assert first.texts == ["Hel", "lo"]
    assert all(mine is theirs for mine, theirs in zip(first.pieces, second.pieces, strict=True))


async def test_each_interval_has_its_own_pace() -> None:
    board, _ = board_with("Hello")
    with board.view(Screen().show, 0.0) as eager, board.view(Screen().show, LONG) as patient:
        for viewer in (eager, patient):
            await viewer.show(Sequence(0))
        board.wake()
        await patient.show(Sequence(0))
        await eager.show(Sequence(0))
        board.wake()
        assert (eager.is_due, patient.is_due) == (True, False)


async def test_an_ending_is_sent_to_viewers_that_saw_the_draft() -> None:
    board, draft = board_with("Hello")
    saw, late = Screen(), Screen()
    with board.view(saw.show, 0.0) as viewer, board.view(late.show, 0.0) as other:
        await viewer.show(Sequence(0))
        board.remove(draft, DraftState.ABANDONED)
        await viewer.show(Sequence(0))
        await other.show(Sequence(0))
    assert [piece.state for piece in saw.pieces] == [DraftState.WRITING, DraftState.ABANDONED]
    assert late.pieces == []


def test_a_bounded_number_of_ended_drafts_is_remembered() -> None:
    board, _ = board_with("Hello")
    for number in range(MOST_OVER + 1):
        board.note_over(f"m-{number}")
    assert not board.is_over("m-0")
    assert board.is_over("m-1")
    assert board.is_over(f"m-{MOST_OVER}")
