"""What a run reports: ratios of measurements close in time, and a plain verdict."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.chart import LONGEST, MARK, chart
from benchmarks.messages import MESSAGE_BYTES, framed, message
from benchmarks.report import Failure, Finding, Rounds, alternate, write


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


def test_a_bar_is_as_long_as_its_figure_is_good() -> None:
    drawn = chart([finding(0.6, at_least=True), finding(0.3, at_least=True), finding(0.3, at_least=False)])
    assert [int(width) for width in re.findall(r'width="(\d+)"', drawn)] == [
        MARK,
        MARK // 2,
        min(2 * MARK, LONGEST),
    ]
    assert 'class="missed"' in drawn
    ET.fromstring(drawn)
