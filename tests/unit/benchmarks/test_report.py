"""What a run reports: ratios of measurements close in time, and a plain verdict."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.chart import ASKED, DOUBLING, chart, doublings
from benchmarks.messages import MESSAGE_BYTES, framed, message
from benchmarks.report import Failure, Finding, Rounds, alternate, read, write


def finding(measured: float, *, at_least: bool) -> Finding:
    return Finding("name", "what", 0.6, measured, at_least=at_least, numbers={"echo in calls/s": [1.0]})


def test_a_ratio_compares_what_ran_in_the_same_round() -> None:
    assert Rounds([100, 10, 200], [60, 6, 60]).ratio == pytest.approx(0.6)


def test_the_sides_take_turns_in_going_first() -> None:
    order: list[str] = []

    def side(name: str, rate: float) -> float:
        order.append(name)
        return rate

    found = alternate(lambda: side("echo", 2), lambda: side("ours", 1), rounds=2)
    assert order == ["echo", "ours", "ours", "echo"]
    assert (found.first, found.second) == ([2, 2], [1, 1])


@pytest.mark.parametrize(
    ("measured", "at_least", "met"),
    [(0.7, True, True), (0.6, True, True), (0.5, True, False), (0.7, False, False), (0.6, False, True)],
)
def test_a_bound_is_checked_on_the_requested_side(measured: float, at_least: bool, met: bool) -> None:
    assert finding(measured, at_least=at_least).met is met


def test_the_file_starts_with_the_ratios_and_has_every_number(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    write(file, [finding(0.5, at_least=True)], [Failure("other", "It broke.")], h2load="1", seconds=2)
    written = json.loads(file.read_text(encoding="utf-8"))
    assert next(iter(written)) == "figures"
    assert written["figures"][0]["measured"] == 0.5
    assert written["figures"][0]["met"] is False
    assert written["numbers"] == {"name": {"echo in calls/s": [1.0]}}
    assert written["failures"] == {"other": "It broke."}


def test_every_measurement_sends_the_same_message_in_the_frame_of_grpc() -> None:
    assert framed(message()) == b"\0" + MESSAGE_BYTES.to_bytes(4, "big") + message().SerializeToString()


@pytest.mark.parametrize(
    ("measured", "at_least", "length"),
    [
        pytest.param(0.6, True, 0, id="as asked"),
        pytest.param(1.2, True, 1, id="twice what is asked"),
        pytest.param(0.3, True, -1, id="half of what is asked"),
        pytest.param(0.3, False, 1, id="half where less is better"),
        pytest.param(1.2, False, -1, id="twice where less is better"),
        pytest.param(600.0, True, 3, id="far better"),
        pytest.param(600.0, False, -3, id="far worse"),
        pytest.param(-1.0, False, 3, id="memory that shrank"),
        pytest.param(0.0, True, -3, id="nothing"),
    ],
)
def test_a_bar_is_as_long_as_its_figure_is_better_or_worse_than_asked(
    measured: float, at_least: bool, length: int
) -> None:
    assert doublings(finding(measured, at_least=at_least)) == pytest.approx(length)


def test_bars_of_met_figures_begin_at_what_is_asked_and_those_of_missed_ones_end_there() -> None:
    drawn = chart([finding(1.2, at_least=True), finding(0.3, at_least=True)], [])
    bars = re.findall(r'class="(met|missed)" x="(\d+)" y="\d+" width="(\d+)" height="\d+" rx="2"', drawn)
    assert bars[-2:] == [("met", f"{ASKED}", f"{DOUBLING}"), ("missed", f"{ASKED - DOUBLING}", f"{DOUBLING}")]


def test_the_chart_says_everything_in_words_too() -> None:
    drawn = chart([finding(0.599, at_least=True)], [Failure("peer_one", "It broke.")])
    words = ET.fromstring(drawn).find("{*}desc")
    assert words is not None
    assert words.text == "name: 0.599 (≥ 0.6), missed; peer one: not measured."
    assert "✗ not measured" in drawn


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    failure = Failure("other", "It broke.")
    write(file, [finding(0.5, at_least=True)], [failure], h2load="1", seconds=2)
    results = read(file)
    assert results.findings == [replace(finding(0.5, at_least=True), numbers={})]
    assert results.failures == [failure]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", results.day)
