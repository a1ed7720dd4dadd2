"""Draws a run's ratios as a chart for the README: a bar for each, next to the mark of the required ratio.

Bars are scaled so that the mark is at the same place for all; where less is better, the bar shows required over
measured, so longer is always better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from benchmarks.report import Finding

WIDTH: Final = 860
ROW: Final = 30
LEFT: Final = 420
MARK: Final = 190
"""Where a bar ends that exactly meets its requirement, relative to LEFT."""
LONGEST: Final = 360

STYLE: Final = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .figure { font-weight: 600 }
  .met { fill: #2da44e } .missed { fill: #cf5c36 } .mark { stroke: #57606a; stroke-dasharray: 3 3 }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .mark { stroke: #9da7b1 } }
"""


def chart(findings: Sequence[Finding]) -> str:
    """Returns the picture as SVG."""
    height = ROW * (len(findings) + 1) + 16
    mark = LEFT + MARK
    label = "Measured figures beside what is asked"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">',
            f"<style>{STYLE}</style>",
            *_bars(findings),
            f'<line class="mark" x1="{mark}" y1="4" x2="{mark}" y2="{height - ROW - 8}"/>',
            f'<text x="{mark}" y="{height - ROW + 12}" text-anchor="middle">asked</text>',
            "</svg>",
            "",
        ]
    )


def _bars(findings: Sequence[Finding]) -> Iterator[str]:
    for number, finding in enumerate(findings):
        top = 8 + ROW * number
        ratio = finding.measured / finding.asked if finding.at_least else finding.asked / finding.measured
        length = min(round(ratio * MARK), LONGEST)
        sign = "≥" if finding.at_least else "≤"
        figure = f"{finding.shown(finding.measured)} ({sign} {finding.shown(finding.asked)})"
        yield f'<text x="{LEFT - 10}" y="{top + 16}" text-anchor="end">{escape(finding.title)}</text>'
        yield (
            f'<rect class="{"met" if finding.met else "missed"}" x="{LEFT}" y="{top + 3}" width="{length}"'
            f' height="{ROW - 12}" rx="3"/>'
        )
        yield f'<text class="figure" x="{LEFT + length + 8}" y="{top + 16}">{escape(figure)}</text>'
