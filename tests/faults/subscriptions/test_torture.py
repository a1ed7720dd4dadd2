"""Subscriptions under cut connections and repeated kills of the server, and what every reader received.

The same harness detects the fault in two faulty servers.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.subscriptions.broken_server import (
    LIES_EVERY,
    MOVES_BEFORE_WRITING,
    REGISTERS_AFTER_READING,
)
from tests.faults.subscriptions.storm import Outcome, Plan, read_logs, run
from tests.faults.subscriptions.verdict import Verdict, judge_reader
from tests.faults.subscriptions.writers import KINDS
from tests.support.figures import show
from tests.support.server import start_server

STORM = Plan(sessions=50, readers=100, events=400, kills=5, cut_seconds=0.5)
CALM = Plan(sessions=4, readers=12, events=120, from_the_start=True)


class Resumptions(logging.Handler):
    """Counts the streams that the client opened to replace broken ones."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "reconnecting" in record.getMessage()


@pytest.fixture(scope="module")
def resumptions() -> Iterator[Resumptions]:
    handler, logger = Resumptions(), logging.getLogger("sessions_client")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture(scope="module")
def outcome(resumptions: Resumptions, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    with start_server(tmp_path_factory.mktemp("storm")) as server:
        outcome = asyncio.run(run(server, STORM))
        asyncio.run(read_logs(server, outcome))
    return outcome


@pytest.fixture(scope="module")
def verdict(outcome: Outcome) -> Verdict:
    return outcome.verdict


def test_the_load_was_heavy_enough(
    outcome: Outcome, resumptions: Resumptions, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [event for log in outcome.logs.values() for event in log]
    kinds = Counter(str(event.type) for event in events)
    received = sum(len(reader.received) for reader in outcome.readers)
    reopened = sum(len(reader.openings) - 1 for reader in outcome.readers)
    show(
        capsys,
        f"storm: {len(outcome.logs)} sessions, {len(events)} events, {len(outcome.readers)} subscribers, "
        f"{received} deliveries; {outcome.kills} times kill -9, {outcome.cuts} connections cut, "
        f"{resumptions.count} streams resumed by the client, {reopened} by the subscribers; {dict(kinds)}",
    )
    # A writer goes on until its readers are established.
    assert len(events) >= STORM.sessions * STORM.events
    assert kinds.keys() == set(KINDS)
    assert (outcome.kills, outcome.cuts > 0, resumptions.count > 0, reopened > 0) == (5, True, True, True)


def test_ordered(verdict: Verdict, capsys: pytest.CaptureFixture[str]) -> None:
    show(capsys, f"ordered: out of order {verdict.out_of_order}")
    assert verdict.out_of_order == 0


def test_unique(verdict: Verdict, capsys: pytest.CaptureFixture[str]) -> None:
    show(capsys, f"unique: duplicates {verdict.duplicates}")
    assert verdict.duplicates == 0


def test_reliable(verdict: Verdict, capsys: pytest.CaptureFixture[str]) -> None:
    show(
        capsys,
        f"reliable: missing {verdict.missing}, altered {verdict.altered}, "
        f"acknowledged and not in the log {verdict.lost}",
    )
    assert (verdict.missing, verdict.altered, verdict.lost) == (0, 0, 0)


def test_resumable(verdict: Verdict, capsys: pytest.CaptureFixture[str]) -> None:
    show(capsys, f"resumable: subscriptions that did not resume where the previous one ended {verdict.torn}")
    assert verdict.torn == 0


def test_filtered(verdict: Verdict, capsys: pytest.CaptureFixture[str]) -> None:
    show(capsys, f"filtered: events that were not requested {verdict.unwanted}")
    assert verdict.unwanted == 0


def calm_outcome(folder: Path, *, fault: str | None = None) -> Outcome:
    """The log is read from a server without the fault."""
    program = None if fault is None else ["-m", "tests.faults.subscriptions.broken_server", fault]
    with start_server(folder, program=program) as server:
        outcome = asyncio.run(run(server, CALM))
    with start_server(folder) as server:
        asyncio.run(read_logs(server, outcome))
    return outcome


def test_the_harness_reports_no_fault_of_the_real_server(tmp_path: Path) -> None:
    assert calm_outcome(tmp_path).verdict == Verdict()


def test_a_server_that_registers_after_reading_is_detected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = calm_outcome(tmp_path, fault=REGISTERS_AFTER_READING)
    show(capsys, f"registers after reading: missing {outcome.verdict.missing}")
    missing = [judge_reader(reader, outcome.logs[reader.session_id]).missing for reader in outcome.readers]
    assert all(missing), "a reader missed no event despite the fault"


def test_a_server_that_advances_before_writing_is_detected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = calm_outcome(tmp_path, fault=MOVES_BEFORE_WRITING)
    passed_over = sum(
        event.type == "message" and event.sequence % LIES_EVERY == 0
        for reader in outcome.readers
        for event in outcome.logs[reader.session_id]
    )
    show(capsys, f"moves before writing: missing {outcome.verdict.missing} of {passed_over} passed over")
    assert outcome.verdict.missing == passed_over > 0
