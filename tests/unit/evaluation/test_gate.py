from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.base.errors import EvidenceError
from mlops.contracts.evidence import Comparison, EvaluationReport
from mlops.contracts.runs import Metric, TrainingConf
from mlops.evaluation.gate import compare, compare_metric

NOW = "2026-01-02T03:04:05+00:00"


def report(**metrics: float) -> EvaluationReport:
    return EvaluationReport(schema_version=1, metrics=metrics)


def compared(
    conf: TrainingConf, challenger: EvaluationReport, champion: EvaluationReport | None
) -> Comparison:
    version = "1.2.0+retrain.0" if champion else None
    return compare(conf, champion_version=version, challenger=challenger, champion=champion, created_at=NOW)


def test_a_better_challenger_passes(training: TrainingConf) -> None:
    result = compared(training, report(f1=0.9, log_loss=0.2), report(f1=0.85, log_loss=0.3))
    assert (result.gate, result.champion, result.reasons()) == ("passed", "1.2.0+retrain.0", [])
    f1, log_loss = result.metrics
    assert (f1.challenger, f1.champion) == (0.9, 0.85)
    assert f1.change == pytest.approx(0.05)
    assert log_loss.change == pytest.approx(-0.1)


def test_a_first_model_is_held_to_its_bounds_only(training: TrainingConf) -> None:
    result = compared(training, report(f1=0.81, log_loss=0.5), None)
    assert result.gate == "passed"
    assert result.champion is None
    assert [line.change for line in result.metrics] == [None, None]


def test_every_reason_of_a_failed_gate_is_named(training: TrainingConf) -> None:
    result = compared(training, report(f1=0.7, log_loss=0.9), report(f1=0.85, log_loss=0.3))
    assert result.gate == "failed"
    assert result.reasons() == [
        "f1: 0.7 is below the minimum 0.8; 0.7 is 0.15 worse than the champion's 0.85, 0.02 is allowed",
        "log_loss: 0.9 is above the maximum 0.5; 0.9 is 0.6 worse than the champion's 0.3, 0.1 is allowed",
    ]


def test_one_failed_metric_fails_the_gate(training: TrainingConf) -> None:
    result = compared(training, report(f1=0.82, log_loss=0.2), report(f1=0.9, log_loss=0.3))
    assert [line.gate for line in result.metrics] == ["failed", "passed"]
    assert result.gate == "failed"


@pytest.mark.parametrize(
    ("challenger", "champion", "gate"),
    [(0.88, 0.90, "passed"), (0.8799, 0.90, "failed"), (0.28, 0.30, "passed"), (0.58, 0.60, "passed")],
)
def test_a_loss_of_exactly_what_is_allowed_passes_in_spite_of_rounding(
    challenger: float, champion: float, gate: str
) -> None:
    metric = Metric(name="f1", goal="maximize", max_regression=0.02)
    assert compare_metric(metric, challenger, champion).gate == gate


def test_a_metric_the_champion_never_had_is_not_compared(training: TrainingConf) -> None:
    result = compared(training, report(f1=0.9, log_loss=0.2), report(f1=0.9))
    assert result.gate == "passed"
    assert result.metrics[1].champion is None


def test_a_missing_metric_is_named_with_the_nearest_one(training: TrainingConf) -> None:
    with pytest.raises(EvidenceError, match="has no metric 'log_loss'") as caught:
        compared(training, report(f1=0.9, logloss=0.2), None)
    assert caught.value.next_step == "Did you mean 'logloss'?"
    assert "f1, logloss" in caught.value.cause


def test_another_schema_version_is_refused(training: TrainingConf) -> None:
    strange = replace(report(f1=0.9, log_loss=0.2), schema_version=2)
    with pytest.raises(EvidenceError, match=r"champion/evaluation\.json has schema version 2"):
        compared(training, report(f1=0.9, log_loss=0.2), strange)


@given(value=st.floats(0, 1), champion=st.floats(0, 1), allowed=st.floats(0, 0.5))
def test_turning_a_metric_around_turns_nothing_else(value: float, champion: float, allowed: float) -> None:
    more = compare_metric(Metric(name="m", goal="maximize", max_regression=allowed), value, champion)
    less = compare_metric(Metric(name="m", goal="minimize", max_regression=allowed), -value, -champion)
    assert more.gate == less.gate
