"""The model of three classes: what it reports, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from penguins import artifact
from penguins.columns import SPECIES, Row
from penguins.container import Identity, ModelError, Paths
from penguins.program import Program
from species.__main__ import PROGRAM
from species.model import predict, probabilities
from species.train import train

IDENTITY = Identity("species", "1.0.0+retrain.0", "", "")
Trained = Callable[[Program], Paths]


@pytest.fixture(name="report")
def fixture_report(trained: Trained) -> dict[str, Any]:
    paths = trained(PROGRAM)
    PROGRAM.run("evaluate", paths)
    document: dict[str, Any] = json.loads(paths.evaluation.read_text(encoding="utf-8"))
    return document


def test_the_confusion_matrix_is_full_and_adds_up(report: dict[str, Any], rows: list[Row]) -> None:
    matrix = report["confusion_matrix"]
    assert matrix["labels"] == list(SPECIES)
    assert [sum(row) for row in matrix["matrix"]] == [report["counts"][name] for name in SPECIES]
    right = sum(matrix["matrix"][index][index] for index in range(3))
    assert report["metrics"]["accuracy"] == pytest.approx(right / len(rows))


def test_f1_is_the_mean_over_the_species(report: dict[str, Any]) -> None:
    matrix = report["confusion_matrix"]["matrix"]
    scores = []
    for index in range(3):
        found = sum(row[index] for row in matrix)
        scores.append(2 * matrix[index][index] / (sum(matrix[index]) + found))
    assert report["metrics"]["f1_macro"] == pytest.approx(sum(scores) / 3)
    assert report["metrics"]["f1_macro"] > 0.9


def test_slices_cover_all_penguins(report: dict[str, Any]) -> None:
    for column in ("island", "sex"):
        counts = [part["count"] for name, part in report["slices"].items() if name.startswith(column)]
        assert sum(counts) == 103


def test_the_answer_is_the_likeliest_species(trained: Trained, rows: list[Row]) -> None:
    model = artifact.load(trained(PROGRAM).model)
    for answer, row in zip(predict(model, rows), probabilities(model, rows), strict=True):
        assert answer["label"] == SPECIES[row.index(max(row))]
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_the_same_data_give_the_same_model(trained: Trained, paths: Paths, rows: list[Row]) -> None:
    PROGRAM.run("train", paths)
    first, second = (artifact.load(one.model) for one in (trained(PROGRAM), paths))
    assert probabilities(first, rows) == probabilities(second, rows)


def test_a_species_that_is_missing_is_named(paths: Paths, rows: list[Row]) -> None:
    with pytest.raises(ModelError, match="have no Chinstrap, Gentoo"):
        train([row for row in rows if row["species"] == "Adelie"], paths, IDENTITY)


def test_training_that_does_not_converge_fails(paths: Paths, rows: list[Row]) -> None:
    paths.hyper_parameters.parent.mkdir(parents=True)
    paths.hyper_parameters.write_text('{"max_iterations": "1"}', encoding="utf-8")
    with pytest.raises(ModelError, match="raise 'max_iterations'"):
        train(rows, paths, IDENTITY)
