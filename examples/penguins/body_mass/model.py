"""What the model looks at, and how it answers."""

from __future__ import annotations

from collections.abc import Iterator

from penguins.artifact import Model
from penguins.columns import Row, vectors

LABEL = "body_mass_g"

# The species would help, and is still to come.
FEATURES = ("flipper_length_mm", "bill_length_mm", "sex")


def grams(model: Model, rows: list[Row]) -> list[float]:
    """The estimate for each penguin."""
    found: list[float] = model.estimator.predict(vectors(rows, FEATURES)).tolist()
    return found


def predict(model: Model, rows: list[Row]) -> Iterator[dict[str, float | str]]:
    for value in grams(model, rows):
        yield {"value": round(value, 1), "unit": "g"}
