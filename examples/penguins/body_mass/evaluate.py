"""evaluation.json of a regression: errors in grams, their squares, and the variance that is explained."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sklearn.metrics import (
    max_error,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    root_mean_squared_error,
)

from body_mass.model import LABEL, grams
from penguins.artifact import Model
from penguins.columns import Row

# As many as the platform reads.
SAMPLE = 1000
# Parts of the data where a good average could hide a bad model, by column.
SLICED_BY = ("sex", "species")


def report(model: Model, rows: list[Row]) -> dict[str, Any]:
    """The document evaluation.json, schema version 1. Errors are in grams, `mse` in grams squared."""
    true = [float(row[LABEL]) for row in rows]
    estimated = grams(model, rows)
    return {
        "schema_version": 1,
        "metrics": {
            "mse": float(mean_squared_error(true, estimated)),
            "rmse": float(root_mean_squared_error(true, estimated)),
            "mae": float(mean_absolute_error(true, estimated)),
            "max_error": float(max_error(true, estimated)),
            "r2": float(r2_score(true, estimated)),
        },
        "counts": {"penguins": len(rows)},
        "slices": _slices(rows, true, estimated),
        # What the platform compares the endpoint's answers with, to notice when they drift.
        "predictions": {"numbers": [round(value, 1) for value in estimated[:SAMPLE]]},
    }


def _slices(rows: list[Row], true: list[float], estimated: list[float]) -> dict[str, dict[str, float]]:
    errors: defaultdict[str, list[float]] = defaultdict(list)
    for row, weighed, guess in zip(rows, true, estimated, strict=True):
        for column in SLICED_BY:
            errors[f"{column} {row[column]}"].append(guess - weighed)
    return {
        name: {
            "count": float(len(found)),
            "mse": sum(error**2 for error in found) / len(found),
            "mae": sum(map(abs, found)) / len(found),
            # Which way it errs: below 0 are penguins taken for lighter than they are.
            "bias": sum(found) / len(found),
        }
        for name, found in sorted(errors.items())
    }
