"""What the model looks at, and how it answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penguins.artifact import Model
from penguins.columns import SPECIES, Row, vectors

LABEL = "species"

# The length of bill and flippers; the rest of the penguin is still to come.
FEATURES = ("bill_length_mm", "flipper_length_mm")


def probabilities(model: Model, rows: list[Row]) -> list[list[float]]:
    """For each penguin how likely each of SPECIES is, in that order: scikit-learn sorts classes, as we do."""
    found: list[list[float]] = model.estimator.predict_proba(vectors(rows, FEATURES)).tolist()
    return found


def predict(model: Model, rows: list[Row]) -> Iterator[dict[str, Any]]:
    for row in probabilities(model, rows):
        likely = {name: round(value, 6) for name, value in zip(SPECIES, row, strict=True)}
        yield {"label": SPECIES[row.index(max(row))], "probabilities": likely}
