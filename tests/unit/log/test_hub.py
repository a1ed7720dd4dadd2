"""The hub: what it caches, when it sends readers to the log, and whom it wakes."""

from __future__ import annotations

import asyncio
import gc

import pytest

from sessions_server.domain.models import (
    ContextChange,
    Event,
    EventType,
    Message,
    MessageBody,
    Micros,
    Sequence,
    SessionKey,
    Updated,
)
from sessions_server.domain.workspace import Published
from sessions_server.log.hub import RING_EVENTS, Feed, Hub

KEY = SessionKey("default", "s")
FOREVER = 3600.0


def events(first: int, last: int, content: str = "text") -> list[Event]:
    return [
        Event(
            KEY,
            at,
            EventType.MESSAGE,
            Micros(0),
            "",
            Message(f"m{at}", at, Micros(0), MessageBody("user", content)),
        )
        for at in map(Sequence, range(first, last + 1))
    ]


def publish(feed: Feed, made: list[Event], erased_through: int = 0, log_id: str = "") -> None:
    feed.publish(Published(KEY, made, made[-1].sequence, Sequence(erased_through), log_id))


def waiting(feed: Feed) -> int:
    """How many futures the feed refers to."""
    return sum(
        isinstance(each, asyncio.Future) for held in gc.get_referents(feed) for each in gc.get_referents(held)
    )


def cached(feed: Feed, after: int, log_id: str = "") -> list[int] | None:
    found = feed.recent(Sequence(after), log_id)
    return None if found is None else [event.sequence for event in found]


def test_a_new_feed_sends_readers_to_the_log() -> None:
    assert cached(Feed(), 0) is None


def test_readers_get_the_events_after_their_position() -> None:
    feed = Feed()
    publish(feed, events(5, 8))
    assert cached(feed, 4) == [5, 6, 7, 8]
    assert cached(feed, 7) == [8]
    assert cached(feed, 8) == []
    assert cached(feed, 3) is None, "event 4 is only in the log"


def test_the_ring_is_bounded_by_events_and_by_content() -> None:
    feed = Feed()
    publish(feed, events(1, RING_EVENTS + 10))
    assert cached(feed, 9) is None
    assert len(cached(feed, 10) or []) == RING_EVENTS
    publish(feed, events(RING_EVENTS + 11, RING_EVENTS + 20, "x" * 200_000))
    assert cached(feed, RING_EVENTS + 18) is not None
    assert cached(feed, RING_EVENTS + 10) is None


@pytest.mark.parametrize("changed", [ContextChange, Updated])
def test_paths_count_as_content(changed: type[ContextChange | Updated]) -> None:
    feed = Feed()
    paths = ("k" * 100_000,) * 3
    for number in map(Sequence, range(1, 21)):
        publish(feed, [Event(KEY, number, EventType.UPDATED, Micros(0), "", changed(paths))])
    assert cached(feed, 17) == [18, 19, 20]
    assert cached(feed, 16) is None


def test_the_size_of_a_ring_includes_the_json_of_its_messages() -> None:
    feed = Feed()
    for at in range(1, 21):
        body = MessageBody("user", data={"picture": "x" * 200_000})
        made = Message(f"m{at}", Sequence(at), Micros(0), body)
        publish(feed, [Event(KEY, Sequence(at), EventType.MESSAGE, Micros(0), "", made)])
    assert cached(feed, 15) is None
    assert cached(feed, 16) == [17, 18, 19, 20]


def test_readers_learn_which_content_is_out_of_date() -> None:
    feed = Feed()
    publish(feed, events(1, 4))
    publish(feed, events(5, 5), erased_through=3)
    publish(feed, events(6, 6))
    assert (feed.erased_through, feed.foreign) == (3, 0)
    feed.hint(Sequence(6))
    assert feed.foreign == 0, "this replica's own events are not new to it"
    feed.hint(Sequence(7))
    feed.forget()
    assert feed.foreign == 2


def test_erased_content_is_no_longer_cached() -> None:
    feed = Feed()
    publish(feed, events(1, 4))
    publish(feed, events(5, 5), erased_through=3)
    assert cached(feed, 2) is None
    assert cached(feed, 3) == [4, 5]


def test_events_of_another_replica_leave_no_gap() -> None:
    feed = Feed()
    publish(feed, events(1, 2))
    publish(feed, events(5, 6))
    assert cached(feed, 2) is None
    assert cached(feed, 4) == [5, 6]


def test_a_hint_ahead_of_the_ring_sends_readers_to_the_log() -> None:
    feed = Feed()
    publish(feed, events(1, 2))
    before = feed.version
    feed.hint(Sequence(2))
    assert (cached(feed, 2), feed.version) == ([], before), "the hint has nothing new"
    feed.hint(Sequence(3))
    assert cached(feed, 2) is None
    assert feed.version > before


async def test_a_change_between_reading_and_waiting_is_not_missed() -> None:
    feed = Feed()
    seen = feed.version
    publish(feed, events(1, 1))
    assert feed.changed(seen, FOREVER).done()


async def test_every_waiter_is_woken() -> None:
    feed = Feed()
    waits = [feed.changed(feed.version, FOREVER) for _ in range(100)]
    publish(feed, events(1, 1))
    assert all(wait.done() for wait in waits)


async def test_a_waiter_that_was_woken_by_others_can_be_forgotten() -> None:
    feed = Feed()
    for _ in range(100):
        wait = feed.changed(feed.version, FOREVER)
        wait.set_result(None)
        feed.leave(wait)
    assert waiting(feed) == 0, "each viewer of a draft waits again after each of its pieces"


async def test_waiters_that_left_are_forgotten_at_the_next_change() -> None:
    feed = Feed()
    for _ in range(100):
        feed.changed(feed.version, FOREVER).cancel()
    publish(feed, events(1, 1))
    assert waiting(feed) == 0


async def test_a_waiter_gives_up_after_its_timeout() -> None:
    async with asyncio.timeout(30):
        await Feed().changed(0, 0.001)


def test_a_session_is_forgotten_with_its_last_watcher() -> None:
    hub = Hub()
    with hub.watch(KEY) as first:
        with hub.watch(KEY) as second:
            assert first is second
        assert list(hub.watched()) == [KEY]
    assert list(hub.watched()) == []


@pytest.mark.parametrize("made", [events(1, 1), []])
def test_a_durable_commit_wakes_only_the_sessions_watchers(made: list[Event]) -> None:
    hub, other = Hub(), SessionKey("default", "other")
    with hub.watch(KEY) as feed, hub.watch(other) as quiet:
        hub.publish([Published(KEY, made, Sequence(1), Sequence(0))])
        assert (feed.version, quiet.version) == (1, 0)


def test_a_rolled_back_log_is_not_cached() -> None:
    feed = Feed()
    publish(feed, events(5, 8))
    publish(feed, events(6, 7, "others"))
    assert feed.foreign == 1, "earlier events are no longer trusted"
    assert cached(feed, 5) == [6, 7]
    assert cached(feed, 4) is None
    assert cached(feed, 7) == []
    assert cached(feed, 8) is None, "only the log can tell that this position is ahead"
    publish(feed, events(8, 8))
    assert feed.foreign == 1


def test_a_read_detects_that_the_log_was_rolled_back() -> None:
    feed = Feed()
    publish(feed, events(1, 8))
    feed.compare(Sequence(5), feed.version - 1)
    assert cached(feed, 5) == [6, 7, 8], "they may have arrived during the read"
    feed.compare(Sequence(8), feed.version)
    assert cached(feed, 5) == [6, 7, 8]
    feed.compare(Sequence(5), feed.version)
    assert cached(feed, 5) is None
    publish(feed, events(6, 6, "others"))
    assert cached(feed, 5) == [6]


def test_events_of_one_log_are_not_served_for_another() -> None:
    feed = Feed()
    publish(feed, events(1, 3), log_id="a")
    assert cached(feed, 2, "a") == [3]
    assert cached(feed, 2, "a.3-5f0c9a31") is None
    publish(feed, events(4, 4), log_id="a.4-5f0c9a31")
    assert cached(feed, 2, "a") is None
    assert cached(feed, 2, "a.4-5f0c9a31") is None, "event 3 belongs to the other log"
    assert cached(feed, 3, "a.4-5f0c9a31") == [4]


def test_after_a_failover_all_readers_read_the_log() -> None:
    hub = Hub()
    with hub.watch(KEY) as feed:
        feed.publish(Published(KEY, events(1, 3), Sequence(3), Sequence(0)))
        seen = feed.version
        hub.distrust_all()
        assert (feed.foreign, cached(feed, 3)) == (1, None)
        assert feed.version > seen, "every waiter is woken"
        feed.hint(Sequence(2))
        feed.publish(Published(KEY, events(3, 3), Sequence(3), Sequence(0)))
        assert (feed.foreign, cached(feed, 2)) == (2, [3])
