"""Draws a run's figures as a chart: a bar for each, to the right of the required value if it is better, else to the
left.

The scale is logarithmic, so that twice as good and half as good have bars of the same length. A figure is better when
it is larger or, where less is asked, smaller.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from benchmarks.report import Failure, Finding

WIDTH: Final = 880
ROW: Final = 22
TOP: Final = 58
"""The first row begins here, below the legend and the names of the marks."""
NAMES: Final = 190
"""The names of the figures end here."""
ASKED: Final = 375
"""The position of a figure that is exactly as asked."""
DOUBLING: Final = 55
"""The width of a factor of two."""
MARKS: Final = {-3: "⅛ or less", -2: "¼", -1: "½", 0: "as asked", 1: "twice", 2: "4 times", 3: "8 or more"}
"""The names of the powers of two. What is outside of them is drawn at the last one; the number next to it is exact."""

STYLE: Final = """
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .paper { fill: #ffffff } .mark { stroke: #d1d9e0 } .asked { stroke: #59636e; stroke-width: 2 }
  .name { text-anchor: end } .scale { text-anchor: middle; fill: #59636e; font-size: 11px }
  .met { fill: #1a7f37 } .missed { fill: #bc4c00 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .paper { fill: #0d1117 } .mark { stroke: #3d444d } .asked { stroke: #9198a1 }
    .scale { fill: #9198a1 } .met { fill: #3fb950 } .missed { fill: #f0883e }
  }
"""


def chart(findings: Sequence[Finding], failures: Sequence[Failure]) -> str:
    """Returns the picture as SVG, with its content in words for readers who do not see it."""
    bottom = TOP + ROW * (len(findings) + len(failures))
    size = f'viewBox="0 0 {WIDTH} {bottom + 12}" width="{WIDTH}" height="{bottom + 12}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title words">',
            '<title id="title">Measured figures beside what is asked</title>',
            f'<desc id="words">{escape(_words(findings, failures))}</desc>',
            f"<style>{STYLE}</style>",
            f'<rect class="paper" width="{WIDTH}" height="{bottom + 12}" rx="6"/>',
            *_legend(),
            *_scale(bottom),
            *(line for row, each in enumerate(findings) for line in _bar(TOP + ROW * row, each)),
            *(
                line
                for row, each in enumerate(failures, len(findings))
                for line in _gap(TOP + ROW * row, each)
            ),
            "</svg>",
            "",
        ]
    )


def _words(findings: Sequence[Finding], failures: Sequence[Failure]) -> str:
    measured = [f"{each.title}: {_figure(each)}, {_verdict(each)}" for each in findings]
    return "; ".join([*measured, *(f"{each.title}: not measured" for each in failures)]) + "."


def _figure(finding: Finding) -> str:
    return f"{finding.shown(finding.measured)} ({finding.bound})"


def _verdict(finding: Finding) -> str:
    return "met" if finding.met else "missed"


def _legend() -> Iterator[str]:
    for x, verdict, sign in ((ASKED - 150, "missed", "✗"), (ASKED + 60, "met", "✓")):
        yield f'<rect class="{verdict}" x="{x}" y="10" width="12" height="12" rx="2"/>'
        yield f'<text x="{x + 18}" y="20">{sign} {verdict}</text>'


def _scale(bottom: int) -> Iterator[str]:
    for power, name in MARKS.items():
        x = ASKED + DOUBLING * power
        yield f'<line class="{"mark" if power else "asked"}" x1="{x}" y1="{TOP - 8}" x2="{x}" y2="{bottom}"/>'
        yield f'<text class="scale" x="{x}" y="{TOP - 16}">{name}</text>'


def _bar(top: int, finding: Finding) -> Iterator[str]:
    width = round(DOUBLING * abs(doublings(finding)))
    left = ASKED if doublings(finding) >= 0 else ASKED - width
    kind, sign = _verdict(finding), "✓" if finding.met else "✗"
    yield f'<text class="name" x="{NAMES}" y="{top + 15}">{escape(finding.title)}</text>'
    # A figure that is exactly as asked still gets a bar that can be seen.
    yield f'<rect class="{kind}" x="{left}" y="{top + 4}" width="{max(width, 2)}" height="{ROW - 8}" rx="2"/>'
    yield f'<text x="{ASKED + DOUBLING * 3 + 36}" y="{top + 15}">{sign} {escape(_figure(finding))}</text>'


def _gap(top: int, failure: Failure) -> Iterator[str]:
    yield f'<text class="name" x="{NAMES}" y="{top + 15}">{escape(failure.title)}</text>'
    yield f'<text x="{ASKED + DOUBLING * 3 + 36}" y="{top + 15}">✗ not measured</text>'


def doublings(finding: Finding) -> float:
    """How many times the figure is twice as good as asked; negative if it is worse. At most 3 either way."""
    better, worse = finding.measured, finding.asked
    if not finding.at_least:
        better, worse = worse, better
    # Growth can be nothing or less.
    if better <= 0 or worse <= 0:
        return max(MARKS) if finding.met else min(MARKS)
    return min(max(math.log2(better / worse), min(MARKS)), max(MARKS))
