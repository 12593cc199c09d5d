"""How long a person waits for `mlops --help`, beside Python that does nothing."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.measure import Contender, Table, race

LIMIT = 4.0


def measure(folder: Path) -> Table:
    """`mlops --help` may take four times as long as Python itself."""
    mlops = str(Path(sys.executable).with_name("mlops"))
    contenders = [
        Contender(name="python -c pass", command=[sys.executable, "-c", "pass"], directory=folder, runs=21),
        Contender(name="mlops --help", command=[mlops, "--help"], directory=folder, runs=21),
        Contender(name="mlops train --help", command=[mlops, "train", "--help"], directory=folder, runs=21),
    ]
    rows = race("start", contenders)
    failures = [
        f"{row.contender} takes {row.ratio:.1f} times as long as Python itself; {LIMIT} is the limit"
        for row in rows
        if row.ratio > LIMIT
    ]
    return Table(title="Help: at most 4 times bare Python", rows=rows, failures=failures)
