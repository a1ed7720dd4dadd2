"""A draft holds its text once, and a viewer's position in it is enough to show the rest."""

from __future__ import annotations

import random

import pytest

from sessions_server.domain.drafts import (
    CONTENT,
    MAX_DRAFT_BYTES,
    MAX_PARTS,
    Abandon,
    Draft,
    DraftOpening,
    DraftState,
    Origin,
)
from sessions_server.domain.models import Micros


def draft(message_id: str = "m") -> Draft:
    opening = DraftOpening(message_id, "assistant", "", Abandon.DISCARD, Micros(60_000_000))
    return Draft(opening, Origin(1, "here"), Micros(0))


def write(target: Draft, part: str, position: int, text: str) -> int:
    """Writes as the server does: adds what is new, and returns the position of the next piece."""
    if fresh := target.fresh(part, position, text):
        target.append(part, fresh)
    return target.size(part)


def test_a_repeated_piece_is_ignored() -> None:
    made = draft()
    assert write(made, CONTENT, 0, "Hello") == 5
    assert write(made, CONTENT, 0, "Hello") == 5
    assert write(made, CONTENT, 3, "lo world") == 11
    assert made.content() == "Hello world"


def test_after_a_gap_nothing_is_written_and_the_writer_learns_where_to_continue() -> None:
    made = draft()
    write(made, CONTENT, 0, "Hello")
    assert write(made, CONTENT, 9, "!") == 5
    assert made.content() == "Hello"


def test_each_part_has_its_own_text_and_only_the_first_becomes_the_content() -> None:
    made = draft()
    write(made, "reasoning", 0, "Hmm")
    write(made, CONTENT, 0, "Yes")
    assert [(piece.part, piece.text) for piece in made.pieces({})] == [("reasoning", "Hmm"), (CONTENT, "Yes")]
    assert made.content() == "Yes"


def test_the_number_of_parts_and_bytes_is_bounded() -> None:
    made = draft()
    for number in range(MAX_PARTS):
        assert made.has_room(str(number), 2)
        made.append(str(number), "x")
    assert made.has_room("0", 1)
    assert not made.has_room("one more", 2)
    assert made.has_room("0", MAX_DRAFT_BYTES - made.size_bytes)
    assert not made.has_room("0", MAX_DRAFT_BYTES - made.size_bytes + 1)


def test_viewers_at_the_same_position_share_a_piece() -> None:
    made = draft()
    write(made, CONTENT, 0, "Hello")
    (first,), (second,) = made.pieces({}), made.pieces({})
    assert first is second


def test_the_size_counts_bytes() -> None:
    made = draft()
    before = made.size_bytes
    write(made, CONTENT, 0, "é€")
    assert made.size_bytes - before == 5
    write(made, "x", 0, "é")
    assert made.size_bytes - before == 5 + 2 + len("x")
    assert made.size(CONTENT) == 2


@pytest.mark.parametrize("seed", range(20))
def test_viewers_see_a_prefix_and_then_the_rest(seed: int) -> None:
    chance = random.Random(seed)
    made = draft()
    viewers: list[tuple[dict[str, int], list[str]]] = [({}, [""]) for _ in range(5)]
    for number in range(300):
        write(made, CONTENT, made.size(CONTENT), f"{number} " * chance.randrange(3))
        for seen, text in viewers:
            if chance.random() < 0.3:
                for piece in made.pieces(seen):
                    assert piece.start == len(text[0])
                    text[0] += piece.text
                assert made.content().startswith(text[0])
    for seen, text in viewers:
        text[0] += "".join(piece.text for piece in made.pieces(seen))
        assert text[0] == made.content()


def test_an_end_is_reported_with_its_state() -> None:
    made = draft("m7")
    write(made, CONTENT, 0, "Hello")
    made.state = DraftState.ABANDONED
    ending = made.ending()
    assert (ending.message_id, ending.text, ending.state) == ("m7", "", DraftState.ABANDONED)
