"""Make data/train and data/test from data/penguins.csv: `python -m penguins.split`.

The same files every time: the seed is fixed and scikit-learn is locked. Not part of any job.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from sklearn.model_selection import train_test_split

from penguins.columns import COLUMNS

TEST_SHARE = 0.3
SEED = 0
MISSING = "NA"


def split(source: Path, target: Path) -> None:
    """Write train/ and test/ below `target`, with the same share of each species in both.

    The two penguins that nobody measured are left out; a sex that nobody could tell is `unknown`.
    """
    with source.open(encoding="utf-8", newline="") as file:
        found = [{name: row[name] for name in COLUMNS} for row in csv.DictReader(file)]
    rows = [row for row in found if row["bill_length_mm"] != MISSING]
    for row in rows:
        row["sex"] = "unknown" if row["sex"] == MISSING else row["sex"]
    species = [row["species"] for row in rows]
    parts = train_test_split(rows, test_size=TEST_SHARE, random_state=SEED, stratify=species)
    for name, part in zip(("train", "test"), parts, strict=True):
        path = target / name / source.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(part)


if __name__ == "__main__":
    DATA = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "data"
    split(DATA / "penguins.csv", DATA)
