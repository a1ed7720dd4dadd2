"""Packets that replicas exchange through the database: each reader receives each packet once, for a few seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sessions_server.domain.replica_ports import DraftPacket
from tests.conformance.harness import KEY, OTHER, Harness

if TYPE_CHECKING:
    from sessions_server.storage.store import Store
    from tests.support.postgres import Postgres


def packet(number: int, *, key: object = KEY) -> DraftPacket:
    return DraftPacket(KEY if key is KEY else OTHER, number, b"packet %d" % number)


async def test_a_reader_receives_packets_of_others_once_and_in_order(bench: Harness) -> None:
    store = bench.store
    await store.add_draft_packets("a", [packet(1), packet(2), packet(3, key=OTHER)])
    await store.add_draft_packets("b", [packet(1)])
    taken, known = await store.take_draft_packets("b", {}, {KEY})
    assert taken == [packet(1), packet(2)]
    assert known == {"a": 3}
    await store.add_draft_packets("a", [packet(4), packet(5)])
    assert await store.take_draft_packets("b", known, {KEY}) == ([packet(4), packet(5)], {"a": 5})
    assert await store.take_draft_packets("b", {"a": 5}, {KEY}) == ([], {})


async def test_packets_are_not_in_postgresqls_write_ahead_log(
    postgres: Postgres, postgres_url: str, opener: Callable[[str], Store]
) -> None:
    store = opener(postgres_url)
    await store.start()
    await store.close()
    asked = "SELECT relpersistence FROM pg_class WHERE relname IN ('draft_packets', 'pk_draft_packets')"
    rows = await postgres.fetch(asked, database=postgres_url.rpartition("/")[2])
    assert [row["relpersistence"] for row in rows] == [b"u", b"u"]


async def test_a_packet_is_kept_for_ten_seconds(bench: Harness) -> None:
    await bench.store.add_draft_packets("a", [packet(1)])
    bench.clock.turn(seconds=9)
    await bench.store.add_draft_packets("a", [packet(2)])
    assert await bench.store.clean_draft_packets() == 0
    bench.clock.turn(seconds=1)
    assert await bench.store.clean_draft_packets() == 1
    assert await bench.store.take_draft_packets("b", {}, {KEY}) == ([packet(2)], {"a": 2})
