"""How often monitoring cries wolf, and how often it sees a wolf.

`python -m bench.drift_rates` renews docs/guides/monitoring.md.
Every cell of the table is 200 runs with 200 seeds, so it comes out the same each time. The data are drawn here, but for
one row: the example's real websites, split into training and window anew for each seed.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy

from mlops.contracts.evidence import ColumnDrift
from mlops.contracts.runs import DriftThresholds
from mlops.monitoring import drift

CHECKOUT = Path(__file__).parents[1]
DOCUMENT = CHECKOUT / "docs" / "guides" / "monitoring.md"
WEBSITES = CHECKOUT / "examples" / "phishing-url" / "data" / "websites.csv"
SEEDS = 200
BASELINE_ROWS = 2000
SIZES = (200, 1000, 5000)
THRESHOLDS = DriftThresholds()

_BEGIN, _END = "<!-- rates -->\n", "<!-- end of rates -->\n"
_COUNTRIES = [f"c{number}" for number in range(15)]

Columns = dict[str, list[drift.Value]]
Generator = numpy.random.Generator


@dataclass(frozen=True)
class Sample:
    """Columns and predictions."""

    columns: Columns
    predictions: list[drift.Value]

    @property
    def rows(self) -> drift.Rows:
        """As `drift.compare` takes them."""
        return drift.Rows(len(self.predictions), self.columns)


Change = Callable[[Sample, Generator], Sample]


def usual(random: Generator, size: int) -> Sample:
    """Six columns of numbers and four of categories, one with missing values; and labels."""
    numbers: dict[str, Any] = {
        "amount": random.lognormal(3, 1, size),
        "age": random.normal(40, 12, size),
        "score": random.beta(2, 5, size),
        "visits": random.poisson(12, size).astype(float),
        "latitude": random.uniform(45, 55, size),
        "delay": random.exponential(5, size),
    }
    columns: Columns = {name: values.tolist() for name, values in numbers.items()}
    gone = random.random(size) < 0.03
    columns["delay"] = [None if lost else one for one, lost in zip(columns["delay"], gone, strict=True)]
    columns["weekend"] = random.choice([0.0, 1.0], size, p=[5 / 7, 2 / 7]).tolist()
    columns["device"] = random.choice(["phone", "desktop", "tablet"], size, p=[0.6, 0.3, 0.1]).tolist()
    shares = numpy.array([1 / (rank + 1) for rank in range(len(_COUNTRIES))])
    columns["country"] = random.choice(_COUNTRIES, size, p=shares / shares.sum()).tolist()
    columns["plan"] = random.choice(["free", "paid"], size).tolist()
    predictions = random.choice(["no", "yes"], size, p=[0.7, 0.3]).tolist()
    return Sample(columns, predictions)


def _column(name: str, change: Callable[[Any, Generator], Any]) -> Change:
    def changed(sample: Sample, random: Generator) -> Sample:
        values = numpy.array(sample.columns[name], dtype=object)
        return replace(sample, columns={**sample.columns, name: list(change(values, random))})

    return changed


def _some(share: float, value: drift.Value) -> Callable[[Any, Generator], Any]:
    def change(values: Any, random: Generator) -> Any:
        values[random.random(len(values)) < share] = value
        return values

    return change


def _trifle(sample: Sample, random: Generator) -> Sample:
    del random
    moved = [one + 0.6 for one in sample.columns["age"] if isinstance(one, float)]
    return replace(sample, columns={**sample.columns, "age": list(moved)})


def _labels(sample: Sample, random: Generator) -> Sample:
    labels = random.choice(["no", "yes"], len(sample.predictions), p=[0.45, 0.55]).tolist()
    return replace(sample, predictions=labels)


# What is done to a window, and whether that is drift.
SCENARIOS: dict[str, tuple[Change | None, bool]] = {
    "nothing": (None, False),
    "a trifle: one mean moves by 0.05 standard deviations": (_trifle, False),
    "one mean moves by half a standard deviation": (_column("age", lambda v, _: v + 6.0), True),
    "one mean moves by a whole standard deviation": (_column("age", lambda v, _: v + 12.0), True),
    "one column's spread doubles": (_column("age", lambda v, _: 40 + (v - 40) * 2), True),
    "one column in another unit (cents for euros)": (_column("amount", lambda v, _: v * 100), True),
    "a category's share goes from 10 % to 40 %": (_column("device", _some(1 / 3, "tablet")), True),
    "5 % of the rows have a category never seen": (_column("plan", _some(0.05, "trial")), True),
    "10 % of a column's values are missing": (_column("age", _some(0.10, None)), True),
    "a label is predicted for 55 % instead of 30 %": (_labels, True),
}


def compared(seed: int, size: int, change: Change | None) -> list[ColumnDrift]:
    """One run of monitoring."""
    random = numpy.random.default_rng(seed)
    baseline, window = usual(random, BASELINE_ROWS), usual(random, size)
    if change is not None:
        window = change(window, random)
    return drift.compare(baseline.rows, window.rows, THRESHOLDS, (baseline.predictions, window.predictions))


def real(seed: int, size: int) -> list[ColumnDrift]:
    """The example's 1,250 websites: `size` of them against the others."""
    with WEBSITES.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    order = numpy.random.default_rng(seed).permutation(len(rows)).tolist()

    def part(chosen: Sequence[int]) -> drift.Rows:
        columns = {
            name: [drift.value(rows[row][place]) for row in chosen] for place, name in enumerate(header)
        }
        return drift.Rows(len(chosen), columns)

    return drift.compare(part(order[size:]), part(order[:size]), THRESHOLDS)


def rate(runs: Sequence[list[ColumnDrift]], alarmed: Callable[[ColumnDrift], bool]) -> float:
    """The share of runs with an alarm."""
    return sum(any(map(alarmed, run)) for run in runs) / len(runs)


def drifted(column: ColumnDrift) -> bool:
    """As the platform decides."""
    return column.drifted


def table(seeds: int = SEEDS, sizes: Sequence[int] = SIZES) -> str:
    """The Markdown of docs/guides/monitoring.md."""
    head = "| what happened to the window | drift? | " + " | ".join(f"{size:,} rows" for size in sizes) + " |"
    lines = [head, "|---" * (2 + len(sizes)) + "|"]
    for name, (change, wanted) in SCENARIOS.items():
        runs = {size: [compared(seed, size, change) for seed in range(seeds)] for size in sizes}
        cells = [f"{rate(runs[size], drifted):.1%}" for size in sizes]
        lines.append(_line(name, "yes" if wanted else "no", cells))
        if change is None:
            cells = [
                f"{rate([real(seed, 200) for seed in range(seeds)], drifted):.1%}",
                *[""] * (len(sizes) - 1),
            ]
            lines.append(_line("nothing: the example's websites, split at random", "no", cells))
            for rule, alarmed in NAIVE.items():
                cells = [f"{rate(runs[size], alarmed):.1%}" for size in sizes]
                lines.append(_line(f"*nothing, with another rule: {rule}*", "no", cells))
    return "\n".join(lines) + "\n"


# What is often done instead.
NAIVE: dict[str, Callable[[ColumnDrift], bool]] = {
    "each test by itself, p < 0.05": lambda column: column.p_value < 0.05,
    "PSI above 0.1, no test": lambda column: column.psi > 0.1,
}


def _line(name: str, wanted: str, cells: Sequence[str]) -> str:
    return f"| {name} | {wanted} | {' | '.join(cells)} |"


def written() -> str:
    """The table as the document has it."""
    return DOCUMENT.read_text(encoding="utf-8").partition(_BEGIN)[2].partition(_END)[0]


def main() -> None:
    """Renew the table."""
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(_BEGIN)
    after = rest.partition(_END)[2]
    DOCUMENT.write_text(before + _BEGIN + table() + _END + after, encoding="utf-8")
    print(f"{DOCUMENT.relative_to(CHECKOUT)}: table renewed", file=sys.stderr)


if __name__ == "__main__":
    main()
