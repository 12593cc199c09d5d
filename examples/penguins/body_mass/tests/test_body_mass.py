"""The regression: what it reports, and what it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from body_mass.__main__ import PROGRAM
from body_mass.model import LABEL, grams, predict
from penguins import artifact
from penguins.columns import Row
from penguins.container import ModelError, Paths
from penguins.program import Program

Trained = Callable[[Program], Paths]


@pytest.fixture(name="report")
def fixture_report(trained: Trained) -> dict[str, Any]:
    paths = trained(PROGRAM)
    PROGRAM.run("evaluate", paths)
    document: dict[str, Any] = json.loads(paths.evaluation.read_text(encoding="utf-8"))
    return document


def test_the_metrics_are_those_of_the_errors(
    trained: Trained, report: dict[str, Any], rows: list[Row]
) -> None:
    estimated = grams(artifact.load(trained(PROGRAM).model), rows)
    true = [float(row[LABEL]) for row in rows]
    errors = [guess - weighed for guess, weighed in zip(estimated, true, strict=True)]
    mean = sum(true) / len(true)
    squares = sum(error**2 for error in errors)
    metrics = report["metrics"]
    assert metrics["mse"] == pytest.approx(squares / len(rows))
    assert metrics["rmse"] == pytest.approx(math.sqrt(metrics["mse"]))
    assert metrics["mae"] == pytest.approx(sum(map(abs, errors)) / len(rows))
    assert metrics["r2"] == pytest.approx(1 - squares / sum((weighed - mean) ** 2 for weighed in true))
    assert metrics["r2"] > 0.75


def test_slices_cover_all_penguins(report: dict[str, Any]) -> None:
    for column in ("species", "sex"):
        parts = [part for name, part in report["slices"].items() if name.startswith(column)]
        mse = sum(part["count"] * part["mse"] for part in parts) / 103
        assert mse == pytest.approx(report["metrics"]["mse"])


def test_predictions_take_the_place_of_a_confusion_matrix(report: dict[str, Any], rows: list[Row]) -> None:
    assert "confusion_matrix" not in report
    assert len(report["predictions"]["numbers"]) == len(rows)


def test_the_answer_is_in_grams(trained: Trained, rows: list[Row]) -> None:
    model = artifact.load(trained(PROGRAM).model)
    answers = list(predict(model, rows))
    assert {answer["unit"] for answer in answers} == {"g"}
    values = [float(answer["value"]) for answer in answers]
    assert values == pytest.approx(grams(model, rows), abs=0.05)
    assert all(2000 < value < 7000 for value in values)


def test_a_wrong_hyper_parameter_is_named(paths: Paths) -> None:
    paths.hyper_parameters.parent.mkdir(parents=True)
    paths.hyper_parameters.write_text('{"regularization": "1"}', encoding="utf-8")
    with pytest.raises(ModelError, match="did you mean 'regularisation'"):
        PROGRAM.run("train", paths)
