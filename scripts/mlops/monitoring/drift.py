"""Whether what an endpoint is asked differs from what its model learned from, by more than chance.

For every column: how its values are distributed (Kolmogorov-Smirnov for numbers, chi-square for categories),
whether more of them are missing, whether there are some that training never saw; and how the predictions are
distributed. A difference is drift when it is not an accident and large enough to matter. Holm's procedure
keeps the chance of one false alarm or more below `significance` however many columns there are, and a floor
of the effect (PSI, KS statistic, share of rows) keeps thousands of rows from making a trifle significant.
docs/guides/monitoring.md has the rates.

scipy is imported by the functions that test, so importing this module costs nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mlops.contracts.evidence import ColumnDrift
from mlops.contracts.runs import DriftThresholds

Value = float | str | None
"""A number, a text, or nothing."""

# A column of numbers with no more different ones is a column of categories.
_FEW = 10
# Nearly unique text (ids, addresses, sentences) has no distribution to compare.
_MANY = 1000
_BINS = 10
# Below so many expected rows chi-square describes a cell badly: such categories go together.
_EXPECTED = 5.0
_TEXT_LIMIT = 200
_MISSING = frozenset({"", "na", "n/a", "nan", "none", "null", "<na>"})

PREDICTION = "(prediction)"


@dataclass(frozen=True)
class Rows:
    """A sample, column by column; every column has `count` values."""

    count: int
    columns: Mapping[str, Sequence[Value]]


@dataclass(frozen=True, kw_only=True)
class _Test:
    """One null hypothesis. `matters` is whether the effect passes its floor; `why` words it."""

    column: str
    p_value: float
    matters: bool
    why: str


@dataclass
class _Finding:
    """What is known of a column before all tests are weighed together."""

    name: str
    kind: Literal["number", "category", "text"]
    psi: float = 0.0
    ks: float | None = None
    missing: float = 0.0
    baseline_missing: float = 0.0
    unseen: float = 0.0
    tests: list[_Test] = field(default_factory=list)


def value(raw: object) -> Value:
    """A value as it is compared: CSV's `1.0` and JSON's `1` are one number, and an empty field is none.

    Raises:
        TypeError: for a list or a mapping, which has no place in a column.
    """
    if raw is None:
        return None
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, (int, float)):
        return _finite(raw)
    if not isinstance(raw, str):
        raise TypeError(type(raw).__name__)
    text = raw.strip()
    if text.lower() in _MISSING:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.inf
    if math.isfinite(number):
        return number
    return text.lower() if text.lower() in {"true", "false"} else text[:_TEXT_LIMIT]


def category(known: float | str) -> str:
    """The name of a value as a category."""
    return f"{known:.12g}" if isinstance(known, float) else known


def compare(
    baseline: Rows,
    current: Rows,
    thresholds: DriftThresholds,
    predictions: tuple[Sequence[Value], Sequence[Value]] | None = None,
) -> list[ColumnDrift]:
    """Every column that both have, those that drifted first, and the predictions as `PREDICTION`.

    Args:
        baseline: What the model was trained on.
        current: What it is asked.
        thresholds: What counts as drift.
        predictions: Those on the test data, and those given now.
    """
    findings = [
        _column(name, values, current.columns[name], thresholds)
        for name, values in baseline.columns.items()
        if name in current.columns
    ]
    if predictions is not None:
        findings.append(_column(PREDICTION, *predictions, thresholds))
    reasons = _reject([test for finding in findings for test in finding.tests], thresholds.significance)
    found = [
        ColumnDrift(
            name=finding.name,
            kind=finding.kind,
            drifted=finding.name in reasons,
            psi=round(finding.psi, 4),
            ks=None if finding.ks is None else round(finding.ks, 4),
            p_value=min((test.p_value for test in finding.tests), default=1.0),
            missing=round(finding.missing, 4),
            baseline_missing=round(finding.baseline_missing, 4),
            unseen=round(finding.unseen, 4),
            reason="; ".join(reasons.get(finding.name, ())),
        )
        for finding in findings
    ]
    return sorted(found, key=lambda one: (not one.drifted, -one.psi, one.name))


def _reject(tests: Sequence[_Test], significance: float) -> dict[str, list[str]]:
    """By column, why it drifted: Holm's procedure over all tests, then the floor of the effect."""
    ordered = sorted(tests, key=lambda test: test.p_value)
    reasons: dict[str, list[str]] = {}
    for rank, test in enumerate(ordered):
        if test.p_value * (len(ordered) - rank) > significance:
            break
        if test.matters:
            reasons.setdefault(test.column, []).append(test.why)
    return reasons


def _column(
    name: str, baseline: Sequence[Value], current: Sequence[Value], thresholds: DriftThresholds
) -> _Finding:
    known = [one for one in baseline if one is not None]
    asked = [one for one in current if one is not None]
    finding = _Finding(name, _kind(known))
    finding.baseline_missing = 1 - len(known) / len(baseline) if baseline else 0.0
    finding.missing = 1 - len(asked) / len(current) if current else 0.0
    more = finding.missing - finding.baseline_missing
    finding.tests.append(
        _Test(
            column=name,
            p_value=_share_grew(
                (len(current) - len(asked), len(current)), (len(baseline) - len(known), len(baseline))
            ),
            matters=more >= thresholds.missing,
            why=f"{finding.missing:.1%} of its values are missing, "
            f"{finding.baseline_missing:.1%} were in training",
        )
    )
    if known and asked and finding.kind != "text":
        compare_values = _numbers if finding.kind == "number" else _categories
        compare_values(finding, known, asked, thresholds)
    return finding


def _kind(known: Sequence[float | str]) -> Literal["number", "category", "text"]:
    different = set(known)
    if len(different) > _FEW and all(isinstance(one, float) for one in known):
        return "number"
    if len(different) > min(_MANY, max(_FEW, len(known) // 2)):
        return "text"
    return "category"


def _numbers(
    finding: _Finding, known: Sequence[Any], asked: Sequence[float | str], thresholds: DriftThresholds
) -> None:
    import numpy
    from scipy import stats

    numbers = [one for one in asked if isinstance(one, float)]
    _unseen(finding, len(asked) - len(numbers), len(asked), len(known), thresholds, "are not numbers")
    if not numbers:
        return
    edges = numpy.unique(numpy.quantile(known, numpy.linspace(0, 1, _BINS + 1)[1:-1]))
    bins = len(edges) + 1
    before = numpy.bincount(numpy.searchsorted(edges, known, side="right"), minlength=bins)
    now = numpy.bincount(numpy.searchsorted(edges, numbers, side="right"), minlength=bins)
    finding.psi = _psi(before.tolist(), now.tolist())
    test = stats.ks_2samp(known, numbers, method="asymp")
    finding.ks = float(test.statistic)
    finding.tests.append(
        _Test(
            column=finding.name,
            p_value=float(test.pvalue),
            matters=finding.psi >= thresholds.psi or finding.ks >= thresholds.ks,
            why=f"other numbers than in training: PSI {finding.psi:.2f}, KS {finding.ks:.2f}, "
            f"median {numpy.median(numbers):.6g} instead of {numpy.median(known):.6g}",
        )
    )


def _categories(
    finding: _Finding, known: Sequence[float | str], asked: Sequence[float | str], thresholds: DriftThresholds
) -> None:
    before = Counter(category(one) for one in known)
    now = Counter(category(one) for one in asked)
    new = [name for name in now if name not in before]
    if finding.name != PREDICTION:
        example = f"never seen in training, such as {max(new, key=now.__getitem__)!r}" if new else ""
        _unseen(finding, sum(now[name] for name in new), len(asked), len(known), thresholds, example)
    first, second = _table(before, now)
    finding.psi = _psi(first, second)
    finding.tests.append(
        _Test(
            column=finding.name,
            p_value=_independent(first, second),
            matters=finding.psi >= thresholds.psi,
            why=f"other shares than in training: PSI {finding.psi:.2f}, {_largest_change(before, now)}",
        )
    )


# pylint: disable-next=too-many-arguments,too-many-positional-arguments
def _unseen(
    finding: _Finding, count: int, asked: int, known: int, thresholds: DriftThresholds, what: str
) -> None:
    finding.unseen = count / asked
    finding.tests.append(
        _Test(
            column=finding.name,
            p_value=_share_grew((count, asked), (0, known)),
            matters=finding.unseen >= thresholds.unseen,
            why=f"{finding.unseen:.1%} of its values {what}",
        )
    )


def _table(before: Counter[str], now: Counter[str]) -> tuple[list[int], list[int]]:
    """Both counts by category; those too rare to be compared alone are one."""
    total = before.total() + now.total()
    smaller = min(before.total(), now.total())
    first, second, rest = [], [], [0, 0]
    for name in sorted({*before, *now}):
        if (before[name] + now[name]) * smaller / total >= _EXPECTED:
            first.append(before[name])
            second.append(now[name])
        else:
            rest[0] += before[name]
            rest[1] += now[name]
    if any(rest):
        first.append(rest[0])
        second.append(rest[1])
    return first, second


def _psi(before: Sequence[int], now: Sequence[int]) -> float:
    """The population stability index; half a row more in each cell keeps an empty one from being infinite."""
    cells = len(before)
    whole_before, whole_now = sum(before) + cells / 2, sum(now) + cells / 2
    index = 0.0
    for one, other in zip(before, now, strict=True):
        share, share_now = (one + 0.5) / whole_before, (other + 0.5) / whole_now
        index += (share_now - share) * math.log(share_now / share)
    return index


def _independent(before: Sequence[int], now: Sequence[int]) -> float:
    from scipy import stats

    if len(before) < 2:
        return 1.0
    return float(stats.chi2_contingency([list(before), list(now)], correction=False).pvalue)


def _share_grew(now: tuple[int, int], before: tuple[int, int]) -> float:
    """Fisher's exact test of whether a share (count, of how many) grew."""
    import numpy
    from scipy import stats

    if now[0] == 0 or not before[1]:
        return 1.0
    table = numpy.array([[now[0], now[1] - now[0]], [before[0], before[1] - before[0]]])
    return float(stats.fisher_exact(table, alternative="greater").pvalue)


def _largest_change(before: Counter[str], now: Counter[str]) -> str:
    def change(name: str) -> float:
        return abs(now[name] / now.total() - before[name] / before.total())

    name = max(sorted({*before, *now}), key=change)
    return f"{name!r} {now[name] / now.total():.1%} instead of {before[name] / before.total():.1%}"


def _finite(number: float) -> float | None:
    try:
        found = float(number)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None
