"""How long it takes from `git push` to a prediction on a stack of this machine, and to start that stack.

Not a race: the stages of one push, as ratios of the whole. The second push is measured, of a stack that is warm.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from bench.measure import Row, Table

MLOPS = str(Path(sys.executable).with_name("mlops"))
NAME = "bench"


def measure(folder: Path) -> Table:
    """Start with a real apply and with the snapshot that it left, then the pushes of the demo."""
    fresh, again = _up("--fresh"), _up()
    summary = folder / "summary.json"
    _mlops("demo", "--engine", "process", "--summary", str(summary))
    seconds: dict[str, float] = json.loads(summary.read_text(encoding="utf-8"))["pushes"][1]["seconds"]
    total = seconds.pop("total")
    rows = [
        Row(case="up", contender="real apply (--fresh)", seconds=fresh, runs=1, ratio=1.0),
        Row(case="up", contender="from the snapshot", seconds=again, runs=1, ratio=again / fresh),
        Row(case="push", contender="push to prediction", seconds=total, runs=1, ratio=1.0),
        *(
            Row(case="push", contender=f"  {stage}", seconds=took, runs=1, ratio=took / total)
            for stage, took in seconds.items()
        ),
    ]
    return Table(title="From push to prediction, lint and test side by side, and a stack's start", rows=rows)


def _up(*options: str) -> float:
    """The seconds of one start."""
    begun = time.perf_counter()
    _mlops("up", "--engine", "process", *options)
    seconds = time.perf_counter() - begun
    _mlops("down")
    return seconds


def _mlops(*arguments: str) -> None:
    """Run `mlops local` for the stack of this benchmark.

    Raises:
        SystemExit: with what the command said, when it fails.
    """
    done = subprocess.run(
        [MLOPS, "local", "--name", NAME, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"mlops local {' '.join(arguments)} failed with {done.returncode}:\n{done.stdout[-3000:]}")
