"""evaluation.json of a model of several classes: the full confusion matrix, and metrics over all classes."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
)

from penguins.artifact import Model
from penguins.columns import SPECIES, Row
from species.model import LABEL, probabilities

# Parts of the data where a good average could hide a bad model, by column.
SLICED_BY = ("island", "sex")


def report(model: Model, rows: list[Row]) -> dict[str, Any]:
    """The document evaluation.json, schema version 1."""
    labels = [str(row[LABEL]) for row in rows]
    likely = probabilities(model, rows)
    predicted = [SPECIES[row.index(max(row))] for row in likely]
    # Macro: every species counts the same, however few there are of it.
    average: dict[str, Any] = {"labels": list(SPECIES), "average": "macro", "zero_division": 0}
    return {
        "schema_version": 1,
        "metrics": {
            "f1_macro": float(f1_score(labels, predicted, **average)),
            "accuracy": float(accuracy_score(labels, predicted)),
            "precision": float(precision_score(labels, predicted, **average)),
            "recall": float(recall_score(labels, predicted, **average)),
            "log_loss": float(log_loss(labels, likely, labels=list(SPECIES))),
        },
        "counts": {"penguins": len(rows), **{name: labels.count(name) for name in SPECIES}},
        "confusion_matrix": {
            "labels": list(SPECIES),
            "matrix": confusion_matrix(labels, predicted, labels=list(SPECIES)).tolist(),
        },
        "slices": _slices(rows, labels, predicted),
    }


def _slices(rows: list[Row], labels: list[str], predicted: list[str]) -> dict[str, dict[str, float]]:
    """Accuracy alone: a slice may hold one species only, of which no average over all three says anything."""
    total: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for row, label, guess in zip(rows, labels, predicted, strict=True):
        for column in SLICED_BY:
            total[f"{column} {row[column]}"] += 1
            right[f"{column} {row[column]}"] += label == guess
    return {
        name: {"count": float(count), "accuracy": right[name] / count}
        for name, count in sorted(total.items())
    }
