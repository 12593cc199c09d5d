"""What is drift and what is chance."""

from __future__ import annotations

import random
from typing import Any

import pytest

from mlops.contracts.evidence import ColumnDrift
from mlops.contracts.runs import DriftThresholds
from mlops.monitoring import drift
from mlops.monitoring.drift import PREDICTION, Rows

THRESHOLDS = DriftThresholds()


def numbers(seed: int, count: int, mean: float = 0.0, spread: float = 1.0) -> list[drift.Value]:
    chance = random.Random(seed)  # noqa: S311  # data, no secret
    return [chance.gauss(mean, spread) for _ in range(count)]


def compare(baseline: Any, current: Any, **more: Any) -> ColumnDrift:
    found = drift.compare(
        Rows(len(baseline), {"x": baseline}), Rows(len(current), {"x": current}), THRESHOLDS, **more
    )
    return next(one for one in found if one.name == "x")


@pytest.mark.parametrize(
    ("raw", "known"),
    [
        (1, 1.0),
        ("1.0", 1.0),
        (" 0.5 ", 0.5),
        (True, "true"),
        ("True", "true"),
        ("", None),
        ("NaN", None),
        (None, None),
        (float("inf"), None),
        (10**400, None),
        ("1e999", "1e999"),
        ("Berlin", "Berlin"),
        ("x" * 500, "x" * 200),
    ],
)
def test_csv_and_json_speak_of_the_same_values(raw: object, known: drift.Value) -> None:
    assert drift.value(raw) == known


def test_a_list_has_no_place_in_a_column() -> None:
    with pytest.raises(TypeError):
        drift.value([1, 2])


def test_the_same_numbers_are_stable() -> None:
    found = compare(numbers(1, 1000), numbers(2, 500))
    assert (found.kind, found.drifted, found.reason) == ("number", False, "")


def test_other_numbers_are_drift_and_say_how() -> None:
    found = compare(numbers(1, 1000), numbers(2, 500, mean=1.0))
    assert found.drifted
    assert found.psi > 0.5 and found.ks is not None and found.ks > 0.3
    assert "median" in found.reason


def test_a_wider_spread_is_drift() -> None:
    assert compare(numbers(1, 2000), numbers(2, 1000, spread=2.0)).drifted


def test_what_is_significant_and_tiny_is_no_drift() -> None:
    found = compare(numbers(1, 50_000), numbers(2, 50_000, mean=0.05))
    assert found.p_value < 1e-6
    assert not found.drifted


def test_few_different_numbers_are_categories() -> None:
    found = compare([0.0, 0.5, 1.0] * 300, [0.0, 0.5, 1.0] * 100)
    assert (found.kind, found.ks, found.drifted) == ("category", None, False)
    assert compare([0.0, 0.5, 1.0] * 300, [0.0, 1.0, 1.0] * 100).drifted


def test_a_value_never_seen_is_drift_where_it_is_no_accident() -> None:
    baseline: list[drift.Value] = ["a", "b"] * 500
    found = compare(baseline, ["a", "b"] * 240 + ["c"] * 20)
    assert found.drifted and found.unseen == pytest.approx(0.04)
    assert "never seen in training, such as 'c'" in found.reason
    once = compare(baseline, ["a", "b"] * 250 + ["c"])
    assert not once.drifted and once.unseen > 0


def test_text_in_a_column_of_numbers_is_unseen() -> None:
    found = compare(numbers(1, 1000), [*numbers(2, 450), *["unknown"] * 50])
    assert found.drifted and "are not numbers" in found.reason
    assert compare(numbers(1, 1000), ["unknown"] * 300).drifted


def test_more_missing_values_are_drift_and_fewer_are_not() -> None:
    baseline = [*numbers(1, 900), *[None] * 100]
    found = compare(baseline, [*numbers(2, 350), *[None] * 150])
    assert found.drifted
    assert (found.missing, found.baseline_missing) == (0.3, 0.1)
    assert "30.0% of its values are missing, 10.0% were in training" in found.reason
    assert not compare(baseline, numbers(2, 500)).drifted
    assert compare(baseline, [None] * 300).drifted


def test_texts_that_are_all_different_are_not_compared() -> None:
    found = compare([f"id {n}" for n in range(1000)], [f"other {n}" for n in range(500)])
    assert (found.kind, found.drifted) == ("text", False)


def test_many_columns_are_no_reason_for_an_alarm() -> None:
    """One in a hundred tests is below 0.01 by chance."""

    def sample(seed: int, count: int) -> Rows:
        return Rows(count, {f"c{n}": numbers(seed * 1000 + n, count) for n in range(150)})

    found = drift.compare(sample(1, 500), sample(2, 300), THRESHOLDS)
    assert min(one.p_value for one in found) < 0.05
    assert not [one.name for one in found if one.drifted]


def test_predictions_are_compared_and_have_no_unseen_label() -> None:
    rows = Rows(300, {"x": numbers(1, 300)})

    def predictions(now: list[str]) -> ColumnDrift:
        found = drift.compare(rows, rows, THRESHOLDS, (["yes"] * 400 + ["no"] * 600, now))
        return next(one for one in found if one.name == PREDICTION)

    assert not predictions(["yes"] * 120 + ["no"] * 180).drifted
    assert predictions(["yes"] * 250 + ["no"] * 50).drifted
    assert predictions(["maybe"] * 60 + ["no"] * 240).unseen == 0


def test_what_drifted_comes_first() -> None:
    baseline = Rows(500, {"a": numbers(1, 500), "b": numbers(2, 500)})
    now = Rows(500, {"a": numbers(3, 500), "b": numbers(4, 500, mean=2.0)})
    assert [one.name for one in drift.compare(baseline, now, THRESHOLDS)] == ["b", "a"]


def test_a_column_of_one_value_compares_with_itself() -> None:
    found = compare([1.0] * 300, [1.0] * 300)
    assert (found.drifted, found.psi) == (False, 0.0)


def test_nothing_known_is_nothing_to_compare() -> None:
    assert not compare([None] * 300, [None] * 300).drifted
    assert not compare([None] * 300, numbers(1, 300)).drifted
