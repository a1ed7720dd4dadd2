"""Notices between replicas about drafts survive encoding and decoding."""

from __future__ import annotations

import pytest

from sessions_server.domain.draft_notices import Alive, Ended, Grown, Notice, Wanted, decode, encode
from sessions_server.domain.drafts import DraftState, Origin

ORIGIN = Origin(1_700_000_000_000_000, "replica-1")
NOTICES: list[Notice] = [
    Wanted("replica-2", 3, again=True),
    Alive("m-1", ORIGIN, "assistant", "ada", 9),
    Grown("m-1", ORIGIN, "reasoning", 7, 'é€ "\u0000\U0001f600'),
    Ended("m-1", ORIGIN, DraftState.DISCARDED),
]


def test_notices_survive_encoding() -> None:
    assert decode(encode(NOTICES)) == NOTICES


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\xff",
        b'{"a": 1}',
        b"7",
        b"[7]",
        b'[["grown"]]',
        b'[["grown", "m", 1, "r", "", "0", "x"]]',
        b'[["ended", "m", 1, "r", "unheard of"]]',
    ],
)
def test_an_invalid_packet_is_refused(packet: bytes) -> None:
    with pytest.raises(ValueError, match="A packet about drafts is a list of notices"):
        decode(packet)
