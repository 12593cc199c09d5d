"""The table of docs/guides/monitoring.md, made again at a size that takes seconds."""

from __future__ import annotations

import re

import pytest

from bench import drift_rates as rates

SEEDS = 40


def cells() -> dict[str, list[str]]:
    lines = [line.strip("|").split("|") for line in rates.written().splitlines()[2:]]
    return {name.strip(): [cell.strip() for cell in line] for name, *line in lines}


def share(cell: str) -> float:
    assert re.fullmatch(r"\d+\.\d%", cell), cell
    return float(cell[:-1]) / 100


def test_the_document_has_every_scenario() -> None:
    table = cells()
    assert set(rates.SCENARIOS) < set(table)
    for name, (_, drift) in rates.SCENARIOS.items():
        wanted, *found = table[name]
        assert wanted == ("yes" if drift else "no")
        assert all(share(cell) >= 0.8 if drift else share(cell) <= 0.01 for cell in found[1:]), name


def test_windows_without_drift_raise_no_alarm() -> None:
    """All 200 seeds of the smallest window, as the document has it."""
    runs = [rates.compared(seed, rates.SIZES[0], None) for seed in range(rates.SEEDS)]
    assert f"{rates.rate(runs, rates.drifted):.1%}" == cells()["nothing"][1]
    assert rates.rate(runs, rates.drifted) <= rates.THRESHOLDS.significance
    each_alone = rates.rate(runs, rates.NAIVE["each test by itself, p < 0.05"])
    assert each_alone > 0.3, "the rule that is often used instead"


def test_real_data_split_at_random_raise_no_alarm() -> None:
    assert rates.rate([rates.real(seed, 200) for seed in range(SEEDS)], rates.drifted) == 0.0


@pytest.mark.parametrize("name", [name for name, (_, drift) in rates.SCENARIOS.items() if drift])
def test_data_drifted_on_purpose_raise_one(name: str) -> None:
    runs = [rates.compared(seed, 1000, rates.SCENARIOS[name][0]) for seed in range(10)]
    assert rates.rate(runs, rates.drifted) >= 0.8
