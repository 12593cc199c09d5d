"""Medians of whole processes, taken in turns so that a busy moment hits all contenders alike."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A command to measure, and how often; `setup` runs before each time and is not measured."""

    name: str
    command: Sequence[str]
    directory: Path
    environment: Mapping[str, str] | None = None
    runs: int = 7
    setup: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    case: str
    contender: str
    seconds: float
    runs: int
    ratio: float
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """What one benchmark found; `failures` are limits that were not kept."""

    title: str
    rows: Sequence[Row]
    failures: Sequence[str] = field(default_factory=tuple)


def race(case: str, contenders: Sequence[Contender]) -> list[Row]:
    """Measure contenders in turns; ratios are against the first."""
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for turn in range(max(contender.runs for contender in contenders)):
        for contender in contenders:
            if turn < contender.runs:
                seconds[contender.name].append(run_once(contender))
    first = statistics.median(seconds[contenders[0].name])
    rows = []
    for contender in contenders:
        median = statistics.median(seconds[contender.name])
        rows.append(
            Row(
                case=case,
                contender=contender.name,
                seconds=median,
                runs=contender.runs,
                ratio=median / first,
            )
        )
    return rows


def run_once(contender: Contender) -> float:
    """The seconds of one run.

    Raises:
        SystemExit: with what the command said, when it fails: a quick failure would look like speed.
    """
    if contender.setup:
        subprocess.run(contender.setup, check=True, capture_output=True)
    begun = time.perf_counter()
    done = subprocess.run(
        contender.command,
        check=False,
        cwd=contender.directory,
        env=contender.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    seconds = time.perf_counter() - begun
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace")
        sys.exit(f"{contender.name} failed with {done.returncode}:\n{said[-3000:]}")
    return seconds


def show(table: Table) -> None:
    """Print a table for people."""
    from tabulate import tabulate

    print(f"\n## {table.title}\n")
    cells = [
        (
            row.case,
            row.contender,
            f"{row.seconds * 1000:,.0f} ms" if row.seconds < 10 else f"{row.seconds:,.1f} s",
            f"{row.ratio:.1f}" if row.ratio < 100 else f"{row.ratio:.0f}",
            row.runs or "",
            row.note,
        )
        for row in table.rows
    ]
    headers = ("case", "what", "median", "ratio", "runs", "")
    print(
        tabulate(
            cells,
            headers=headers,
            tablefmt="github",
            colalign=("left", "left", "right", "right", "right", "left"),
        )
    )
