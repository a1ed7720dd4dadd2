"""Recent messages: parsed once, never stale, and only if they are not encrypted."""

from __future__ import annotations

from typing import Any, cast

import pytest

from sessions_server.domain.codec import encode_body
from sessions_server.domain.errors import DataCorrupted
from sessions_server.domain.models import MessageBody, SessionKey
from sessions_server.storage.content import Content
from sessions_server.storage.recent_messages import LARGEST_BYTES, read_messages

KEY = SessionKey("default", "s")


class Unsealed:
    """Cells that are stored as they are."""

    def open(self, _key: bytes, _cell: object, stored: bytes) -> bytes:
        return stored


def content(data_key: bytes | None = None) -> Content:
    return Content(cast(Any, Unsealed()), KEY, data_key)


def row(sequence: int, text: str = "Hello") -> tuple[Any, ...]:
    body = MessageBody("user", text, data={"answer": 42, "sequence": sequence})
    return sequence, f"m{sequence}", 1_000, None, encode_body(body)


def test_equal_rows_give_one_message_and_others_their_own() -> None:
    (first,) = read_messages(content(), [row(1)])
    again, other, changed = read_messages(content(), [row(1), row(2), row(1, "Hi")])
    assert again is first
    assert first == content().message(*row(1))
    assert other == content().message(*row(2))
    assert changed == content().message(*row(1, "Hi"))
    assert read_messages(content(), [(1, "m1", 2_000, None, row(1)[-1])])[0].create_time == 2_000


def test_large_messages_and_those_of_encrypted_sessions_are_read_each_time() -> None:
    large, encrypted = row(1, "x" * LARGEST_BYTES), row(1)
    assert read_messages(content(), [large])[0] is not read_messages(content(), [large])[0]
    one, other = (read_messages(content(b"key"), [encrypted])[0] for _ in range(2))
    assert one == other
    assert one is not other


def test_a_damaged_row_is_refused_although_the_sound_one_is_cached() -> None:
    sound = row(1)
    read_messages(content(), [sound])
    for damaged in ((*sound[:4], sound[4][:-1]), (*sound[:4], sound[4].decode()), ("1", *sound[1:])):
        with pytest.raises(DataCorrupted):
            read_messages(content(), [damaged])
