"""What a file may contain: values of the right types, and times of any age."""

from __future__ import annotations

import pytest

from sessions_server.domain.models import ClaimedTime, Message, MessageBody, Micros, Sequence
from sessions_server.domain.plain import is_sound


@pytest.mark.parametrize(
    ("seconds", "sound"),
    [(5, True), (-5, True), (2**63, False), (-(2**63), False), ("5", False), (True, False)],
)
def test_a_claimed_time_may_be_before_1970(seconds: int, sound: bool) -> None:
    body = MessageBody(role="user", timestamp=ClaimedTime(seconds, 0))
    assert is_sound(Message("m", Sequence(1), Micros(1), body), Message) is sound
