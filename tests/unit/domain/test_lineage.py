"""Identities of logs: two logs differ from where they really diverge, or from before that; never from a later
position."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given, strategies as st

from sessions_server.domain.lineage import MOST_BRANCHES, differ_from, grown
from sessions_server.domain.models import Sequence
from sessions_server.rpc.convert.check import LOG_ID_CHARACTERS


class Case(NamedTuple):
    one: str
    other: str
    differ: int | None


PLACES = {
    "the same log": Case("a.1-x.7-y", "a.1-x.7-y", None),
    "another life of the session": Case("a", "b", 0),
    "no write since the failover": Case("a", "a.12-x", 12),
    "writes before and after it": Case("a.1-x", "a.1-x.12-y", 12),
    "a log whose last events were taken back": Case("a.1-x.20-y", "a.1-x.12-z", 12),
    "one whose first events were": Case("a.1-x.12-z", "a.1-x.20-y", 12),
    "older branches that are not held any more": Case("a.1-.9-x.12-y", "a.1-.12-y.20-z", 20),
    "nothing but such": Case("a.1-x.3-y", "a.1-.12-z", 1),
    "both without their first ones": Case("a.1-.12-y", "a.1-.15-z", 1),
    "what nobody gave out": Case("a.1-x", "a.1-x.-", 0),
    "nor this": Case("a.²-x", "a", 0),
    "the log of an earlier release": Case("", "", None),
}


@pytest.mark.parametrize("case", PLACES.values(), ids=PLACES)
def test_logs_differ_from_where_they_diverge(case: Case) -> None:
    assert differ_from(case.one, case.other) == differ_from(case.other, case.one) == case.differ


def test_a_log_grows_a_branch_with_the_first_write_of_each_epoch() -> None:
    assert grown("a", "", Sequence(5)) == "a"
    assert grown("a", "x", Sequence(5)) == "a.5-x"
    assert grown("a.5-x", "x", Sequence(6)) == "a.5-x"
    assert grown("a.5-x", "y", Sequence(7)) == "a.5-x.7-y"


class Server(NamedTuple):
    """One of the servers that had the database: its copy of one log, as the epoch of each event."""

    epochs: tuple[int, ...]
    log_id: str


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 3)), max_size=12))
def test_no_position_is_confused_with_another_after_any_failovers(steps: list[tuple[int, int, int]]) -> None:
    """Each failover goes to an earlier server's copy without its last events, and writes some events."""
    servers = [Server((0,), grown("a" * 32, f"{0:08x}", Sequence(1)))]
    for epoch, (back, lost, written) in enumerate(steps, 1):
        source = servers[-1 - back % len(servers)]
        # A standby may only lack events of its last server at the end.
        kept = max(len(source.epochs) - lost, source.epochs.index(source.epochs[-1]) + 1)
        log_id = grown(source.log_id, f"{epoch:08x}", Sequence(kept + 1))
        servers.append(Server((*source.epochs[:kept], *[epoch] * written), log_id))
    for one in servers:
        assert len(one.log_id) <= LOG_ID_CHARACTERS
        assert one.log_id.count(".") <= MOST_BRANCHES
        for other in servers:
            common = next(
                (
                    at
                    for at, pair in enumerate(zip(one.epochs, other.epochs, strict=False))
                    if pair[0] != pair[1]
                ),
                min(len(one.epochs), len(other.epochs)),
            )
            differ = differ_from(one.log_id, other.log_id)
            if one.epochs != other.epochs:
                assert differ is not None
                assert differ <= common + 1
            if len(steps) < MOST_BRANCHES and differ is not None:
                assert differ == common + 1
