"""Challenger against champion, and the gate. Pure functions; numbers in each metric's own unit."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from mlops.base.errors import EvidenceError
from mlops.contracts.evidence import Comparison, EvaluationReport, MetricComparison
from mlops.contracts.runs import SCHEMA_VERSION, Metric, TrainingConf

if TYPE_CHECKING:
    from collections.abc import Iterator

# 0.90 - 0.88 is 0.020000000000000018 in binary, which is no larger a loss than the 0.02 somebody allowed.
_ROUNDING = 1e-9


def compare(  # pylint: disable=too-many-arguments
    conf: TrainingConf,
    *,
    champion_version: str | None,
    challenger: EvaluationReport,
    champion: EvaluationReport | None,
    created_at: str,
) -> Comparison:
    """Both models' metrics side by side, each with its gate; the gate is passed when every metric's is.

    A metric that the champion does not report has nothing to regress from: only its bounds are checked.

    Args:
        conf: Names the metrics and their goals.
        champion_version: The version in production; None when nothing was deployed.
        challenger: What the new model's container wrote.
        champion: What the champion's container wrote, on the same data.
        created_at: UTC, ISO 8601.

    Raises:
        EvidenceError: when the challenger lacks a metric of the manifest, or a report has another schema.
    """
    for name, report in (("challenger", challenger), ("champion", champion)):
        if report is not None and report.schema_version != SCHEMA_VERSION:
            raise EvidenceError(
                f"{name}/evaluation.json has schema version {report.schema_version}",
                cause=f"this release reads {SCHEMA_VERSION}",
                next_step=f'Have `evaluate` write "schema_version": {SCHEMA_VERSION}.',
            )
    lines = tuple(
        compare_metric(
            metric, _value(metric.name, challenger), champion.metrics.get(metric.name) if champion else None
        )
        for metric in conf.evaluation.metrics
    )
    return Comparison(
        schema_version=SCHEMA_VERSION,
        project=conf.project,
        model=conf.model,
        challenger=conf.model_version,
        champion=champion_version,
        gate="failed" if any(line.gate == "failed" for line in lines) else "passed",
        metrics=lines,
        evaluated_on=conf.evaluation.data,
        created_at=created_at,
    )


def compare_metric(metric: Metric, challenger: float, champion: float | None) -> MetricComparison:
    """One line of the table."""
    reasons = list(_reasons(metric, challenger, champion))
    return MetricComparison(
        name=metric.name,
        goal=metric.goal,
        challenger=challenger,
        champion=champion,
        change=None if champion is None else challenger - champion,
        gate="failed" if reasons else "passed",
        reason="; ".join(reasons),
    )


def _reasons(metric: Metric, challenger: float, champion: float | None) -> Iterator[str]:
    if metric.min is not None and challenger < metric.min - _ROUNDING:
        yield f"{challenger:.6g} is below the minimum {metric.min:.6g}"
    if metric.max is not None and challenger > metric.max + _ROUNDING:
        yield f"{challenger:.6g} is above the maximum {metric.max:.6g}"
    if champion is not None and metric.max_regression is not None:
        loss = champion - challenger if metric.goal == "maximize" else challenger - champion
        if loss > metric.max_regression + _ROUNDING:
            yield (
                f"{challenger:.6g} is {loss:.6g} worse than the champion's {champion:.6g}, "
                f"{metric.max_regression:.6g} is allowed"
            )


def _value(name: str, report: EvaluationReport) -> float:
    if name in report.metrics:
        return report.metrics[name]
    near = get_close_matches(name, report.metrics, n=1)
    found = ", ".join(sorted(report.metrics))
    raise EvidenceError(
        f"challenger/evaluation.json has no metric '{name}'",
        cause=f"mlops.yml asks for it; `evaluate` wrote {found}",
        next_step=f"Did you mean '{near[0]}'?"
        if near
        else "Have `evaluate` write it, or take it out of mlops.yml.",
    )
