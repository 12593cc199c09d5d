"""Training data as monitoring reads them."""

from __future__ import annotations

import json

import pytest

from mlops.base.errors import EvidenceError, MonitoringError
from mlops.contracts.evidence import ConfusionMatrix, EvaluationReport, Predictions
from mlops.monitoring import baseline, reservoir

from .bucket import NAME, Bucket

PREFIX = f"s3://{NAME}/data/train/"


def read(*ignored: str, **files: str) -> baseline.Baseline:
    bucket = Bucket()
    for name, content in files.items():
        bucket.put(f"data/train/{name.replace('_', '.')}", content)
    return baseline.read(bucket, PREFIX, ignored)


def test_csv_files_with_a_header() -> None:
    found = read(
        "label", a_csv='age,city,label\n31,"Bonn, Rhein",1\n,Kiel,0\n', b_csv="age,city,label\n40,,1\n"
    )
    assert found.order == ("age", "city")
    assert found.rows.count == 3
    assert sorted(found.rows.columns["city"], key=str) == ["Bonn, Rhein", "Kiel", None]
    assert set(found.rows.columns["age"]) == {31.0, 40.0, None}
    assert found.notes == ()


def test_a_byte_order_mark_and_another_kind_of_file_do_no_harm() -> None:
    found = read(a_csv="\ufeffage\n31\n", README_md="no data")
    assert found.order == ("age",)


def test_json_lines_may_lack_keys() -> None:
    found = read(a_jsonl='{"a": 1}\n\n{"a": 2, "b": "x"}\n{"a": [1], "b": null}\n')
    assert found.order == ("a", "b")
    assert sorted(found.rows.columns["a"], key=str) == [1.0, 2.0, None]


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({}, "There is no baseline at"),
        ({"a_parquet": "PAR1"}, "There is no baseline at"),
        ({"a_csv": "1,2\n3,4\n"}, "has no header"),
        ({"a_csv": "age,age\n3,4\n"}, "has no header"),
        ({"a_csv": f"age\n{'9' * 200_000}\n"}, "is not CSV"),
        ({"a_jsonl": "{]\n"}, "line 1 is not JSON"),
        ({"a_jsonl": "[1]\n"}, "line 1 is not a JSON object"),
    ],
)
def test_what_is_no_baseline_is_named(files: dict[str, str], what: str) -> None:
    with pytest.raises(MonitoringError, match=what):
        read(**files)


def test_large_data_are_sampled_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservoir, "ROWS", 100)
    monkeypatch.setattr(reservoir, "BYTES", 256 * 1024)
    bucket = Bucket()
    for number in range(8):
        lines = "".join(json.dumps({"file": number, "row": row}) + "\n" for row in range(5000))
        bucket.put(f"data/train/{number}.jsonl", lines)
    found = baseline.read(bucket, PREFIX, ())
    assert found.rows.count == 100
    assert len(set(found.rows.columns["file"])) == 8, "every file has its part"
    assert bucket.read <= 8 * 64 * 1024
    assert found.notes == ("The baseline is a sample of 100 rows.",)


def test_columns_and_cells_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservoir, "COLUMNS", 10)
    monkeypatch.setattr(reservoir, "CELLS", 50)
    found = read(a_jsonl="".join(json.dumps({f"c{n}": n for n in range(20)}) + "\n" for _ in range(30)))
    assert len(found.rows.columns) == 10
    assert found.rows.count == 5
    assert found.notes == ("Only the first 10 of 20 columns are compared.",)


def report(**more: object) -> EvaluationReport:
    return EvaluationReport(schema_version=1, metrics={"f1": 0.9}, **more)  # type: ignore[arg-type]


def test_predictions_come_from_the_report() -> None:
    labels = report(predictions=Predictions(labels={"a": 2, "b": 1}))
    assert baseline.predictions(labels) == ["a", "a", "b"]
    assert baseline.predictions(report(predictions=Predictions(numbers=(1.5, 2.0)))) == [1.5, 2.0]
    assert baseline.predictions(report()) is None


def test_without_them_the_confusion_matrix_tells() -> None:
    matrix = ConfusionMatrix(labels=("0", "1"), matrix=((3, 1), (0, 2)))
    assert baseline.predictions(report(confusion_matrix=matrix)) == ["0"] * 3 + ["1"] * 3


def test_a_test_set_of_millions_is_no_reason_to_fill_the_memory() -> None:
    found = baseline.predictions(report(predictions=Predictions(labels={"a": 30_000_000, "b": 10_000_000})))
    assert found is not None
    assert (found.count("a"), found.count("b")) == (15_000, 5_000)


@pytest.mark.parametrize("count", [10**400, 10**6], ids=["huge", "large"])
def test_counts_that_no_float_holds_and_counts_below_zero_do_no_harm(count: int) -> None:
    matrix = ConfusionMatrix(labels=("a", "b"), matrix=((count, -count), (1, 0)))
    assert baseline.predictions(report(confusion_matrix=matrix)) == ["a"] * reservoir.ROWS


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"labels": {"a": 1}, "numbers": (1.0,)},
        {"numbers": tuple(float(n) for n in range(1001))},
        {"labels": {"a": -1}},
    ],
)
def test_predictions_that_cannot_be_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(EvidenceError, match="predictions"):
        Predictions(**values)  # type: ignore[arg-type]
