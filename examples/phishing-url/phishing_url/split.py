"""Make data/train and data/test from data/websites.csv: `python -m phishing_url.split`.

The same files every time: the seed is fixed and scikit-learn is locked. Not part of any job.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from sklearn.model_selection import train_test_split

from phishing_url.features import LABEL

TEST_SHARE = 0.3
SEED = 0


def split(source: Path, target: Path) -> None:
    """Write train/ and test/ below `target`, with the same share of phishing in both."""
    with source.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    labels = [row[header.index(LABEL)] for row in rows]
    train, test = train_test_split(rows, test_size=TEST_SHARE, random_state=SEED, stratify=labels)
    for name, part in (("train", train), ("test", test)):
        path = target / name / source.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *part])


if __name__ == "__main__":
    DATA = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "data"
    split(DATA / "websites.csv", DATA)
