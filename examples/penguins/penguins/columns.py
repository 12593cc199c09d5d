"""What a penguin looks like to the models. Training, evaluation and serving all read it here."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from penguins.container import ModelError

Row = dict[str, float | str]


@dataclass(frozen=True)
class Number:
    """A measurement. The limits are wide, and narrow enough to notice another unit."""

    low: float
    high: float

    def read(self, value: object) -> float | None:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            return None
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        return number if math.isfinite(number) and self.low <= number <= self.high else None

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Category:
    """One of a few words."""

    values: tuple[str, ...]

    def read(self, value: object) -> str | None:
        return value if isinstance(value, str) and value in self.values else None

    def __str__(self) -> str:
        return ", ".join(self.values)


SPECIES = ("Adelie", "Chinstrap", "Gentoo")
COLUMNS: dict[str, Number | Category] = {
    "species": Category(SPECIES),
    "island": Category(("Biscoe", "Dream", "Torgersen")),
    "bill_length_mm": Number(10, 100),
    "bill_depth_mm": Number(5, 50),
    "flipper_length_mm": Number(100, 300),
    "body_mass_g": Number(1000, 10000),
    "sex": Category(("female", "male", "unknown")),
}


def inputs_of(label: str) -> tuple[str, ...]:
    """What a model that predicts `label` is asked with.

    All other columns, even those this version of the model ignores: a better one must not break its callers.
    """
    return tuple(name for name in COLUMNS if name != label)


def read_row(values: Mapping[str, object], names: Iterable[str], where: str) -> Row:
    """The columns `names` of one penguin, checked.

    Raises:
        ModelError: naming the place, the column, what was found and what is allowed.
    """
    wanted = tuple(names)
    for name in values:
        if name not in wanted:
            near = get_close_matches(str(name), wanted, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "allowed: " + ", ".join(wanted)
            raise ModelError(f"{where}: unknown column '{str(name)[:50]}'; {hint}")
    row: Row = {}
    for name in wanted:
        if name not in values:
            raise ModelError(f"{where}: column '{name}' is missing")
        found = COLUMNS[name].read(values[name])
        if found is None:
            raise ModelError(f"{where}: '{name}' is {str(values[name])[:50]!r}; allowed: {COLUMNS[name]}")
        row[name] = found
    return row


def read_examples(directory: Path) -> list[Row]:
    """All penguins of a directory's CSV files, label and all.

    Raises:
        ModelError: when there are none, or a value is wrong.
    """
    rows: list[Row] = []
    for path in sorted(directory.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, restkey="(a column too many)", restval="")
            rows += [read_row(row, COLUMNS, f"{path.name}, line {reader.line_num}") for row in reader]
    if not rows:
        raise ModelError(f"{directory} holds no CSV file with penguins")
    return rows


def vectors(rows: Iterable[Row], features: Iterable[str]) -> list[list[float]]:
    """The numbers a model learns from, one list a penguin: a category is a 0 or 1 for each of its values."""
    names = tuple(features)
    return [[number for name in names for number in _numbers(name, row[name])] for row in rows]


def _numbers(name: str, value: float | str) -> list[float]:
    column = COLUMNS[name]
    if isinstance(column, Category):
        return [float(value == one) for one in column.values]
    return [float(value)]
