"""The metrics of a comparison as words, the same in logs, Markdown, Slack and e-mail."""

from __future__ import annotations

from mlops.contracts.evidence import Comparison, MetricComparison

HEADERS = ("metric", "champion", "challenger", "change", "gate")


def rows(comparison: Comparison, *, why: bool) -> list[tuple[str, ...]]:
    """A row for each metric, in the columns of HEADERS; `why` also says what a failed gate objects to."""
    return [_row(line, why=why) for line in comparison.metrics]


def number(value: float) -> str:
    """Four decimals where that says something, as for most scores; exponents for the very large and small."""
    size = abs(value)
    if size == 0 or 0.001 <= size < 1000:
        return f"{value:.4f}"
    return f"{value:,.1f}" if 1000 <= size < 1e9 else f"{value:.3e}"


def _row(line: MetricComparison, *, why: bool) -> tuple[str, ...]:
    gate: str = line.gate
    if line.gate == "failed":
        gate = f"FAILED: {line.reason}" if why else "FAILED"
    champion = "-" if line.champion is None else number(line.champion)
    return (line.name, champion, number(line.challenger), _change(line), gate)


def _change(line: MetricComparison) -> str:
    if line.change is None:
        return "-"
    if line.change == 0:
        return "same"
    better = (line.change > 0) == (line.goal == "maximize")
    sign = "+" if line.change > 0 else ""
    return f"{sign}{number(line.change)} {'better' if better else 'worse'}"
