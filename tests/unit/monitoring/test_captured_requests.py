"""Captured requests as monitoring reads them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from mlops.monitoring import captured_requests, reservoir

from .bucket import NAME, NOW, Bucket, event

FOLDER = "p/m/capture/p--m/AllTraffic/"
PREFIX = f"s3://{NAME}/{FOLDER}"
START = NOW - timedelta(days=2)


def read(bucket: Bucket, start: datetime = START, end: datetime = NOW) -> captured_requests.Captured:
    return captured_requests.read(bucket, PREFIX, start, end, "1.0.0+retrain.0")


def one(line: str) -> captured_requests.Captured:
    bucket = Bucket()
    bucket.put(f"{FOLDER}2026/03/10/11/59-00-000-x.jsonl", line)
    return read(bucket)


EARLIER = NOW - timedelta(minutes=1)


@pytest.mark.parametrize(
    ("request_body", "content_type", "encoding", "rows"),
    [
        ({"instances": [{"a": 1}, {"a": 2}]}, "application/json", "JSON", [{"a": 1}, {"a": 2}]),
        ({"instances": [{"a": 1}]}, "application/json; charset=utf-8", "BASE64", [{"a": 1}]),
        ({"inputs": [[1, 2]]}, "application/json", "JSON", [[1, 2]]),
        ([{"a": 1}], "application/json", "JSON", [{"a": 1}]),
        ({"a": 1, "b": "x"}, "application/json", "JSON", [{"a": 1, "b": "x"}]),
        ([1, 2, 3], "application/json", "JSON", [[1, 2, 3]]),
        ('{"a": 1}\n{"a": 2}\n', "application/jsonlines", "JSON", [{"a": 1}, {"a": 2}]),
        ('1,"x,y"\n2,z\n', "text/csv", "CSV", [["1", "x,y"], ["2", "z"]]),
    ],
)
def test_the_forms_of_requests(request_body: Any, content_type: str, encoding: str, rows: Any) -> None:
    found = one(event(request_body, time=EARLIER, content_type=content_type, encoding=encoding))
    assert (found.rows, found.requests, found.unreadable) == (rows, 1, 0)


@pytest.mark.parametrize(
    ("answer", "content_type", "predictions"),
    [
        ({"predictions": [{"label": "a", "probability": 0.9}]}, "application/json", ["a"]),
        ({"predictions": [3.5, 4]}, "application/json", [3.5, 4.0]),
        ([1, 0], "application/json", [1.0, 0.0]),
        ({"prediction": "b"}, "application/json", ["b"]),
        ({"predictions": [1], "model": {"version": "1.0.0+retrain.0"}}, "application/json", [1.0]),
        ({"predictions": [1], "model": {"version": "0.9.0+retrain.3"}}, "application/json", []),
        ({"embedding": [[1, 2]]}, "application/json", []),
        ("0.3\n0.7\n", "text/csv", [0.3, 0.7]),
    ],
)
def test_the_forms_of_answers(answer: Any, content_type: str, predictions: Any) -> None:
    line = event(
        "1,2" if content_type == "text/csv" else [{"a": 1}], answer, time=EARLIER, content_type=content_type
    )
    found = one(line)
    assert found.predictions == predictions
    assert len(found.rows) == 1, "an answer that tells nothing does not hide the request"


@pytest.mark.parametrize(
    "line",
    [
        "no json\n",
        "{}\n",
        event("{]", time=EARLIER),
        event("7", time=EARLIER),
        event([{"a": 1}, 7], time=EARLIER),
        event([{"a": 1}], time=EARLIER, encoding="BASE64").replace('"data": "', '"data": "%%'),
    ],
)
def test_what_cannot_be_read_is_counted_and_named(line: str) -> None:
    found = one(line)
    assert (found.rows, found.unreadable) == ([], 1)
    assert found.trouble


def test_only_the_window_is_read() -> None:
    bucket = Bucket()
    for hour, time in (
        ("2026/03/08/11", START - timedelta(seconds=1)),
        ("2026/03/08/12", START),
        ("2026/03/10/12", NOW - timedelta(seconds=1)),
        ("2026/03/10/13", NOW),
        ("2026/03/01/00", NOW - timedelta(days=9)),
    ):
        bucket.put(f"{FOLDER}{hour}/00-00-000-x.jsonl", event([{"hour": hour}], time=time))
    bucket.put(f"{FOLDER}2026/03/09/00/readme.txt", "no capture")
    hours = sorted(row["hour"] for row in read(bucket).rows if isinstance(row, dict))
    assert hours == ["2026/03/08/12", "2026/03/10/12"]
    assert [prefix[-6:] for prefix in bucket.listings] == ["03/08/", "03/09/", "03/10/"]


def test_a_busy_endpoint_is_sampled_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservoir, "ROWS", 500)
    monkeypatch.setattr(reservoir, "FILES", 50)
    bucket = Bucket()
    for number in range(300):
        day = NOW - timedelta(minutes=9 * number + 1)
        lines = "".join(event([{"n": number}], time=day) for _ in range(20))
        bucket.put(f"{FOLDER}{day:%Y/%m/%d/%H}/{number}.jsonl", lines)
    found = read(bucket)
    assert found.sampled
    assert len(found.rows) == 500
    days = {row["n"] // 160 for row in found.rows if isinstance(row, dict)}
    assert days == {0, 1}, "of the whole window"
    assert bucket.read < 50 * 20 * 400


def test_rows_without_names_get_those_of_training() -> None:
    rows, misfits = captured_requests.named([{"a": 1}, ["2", "x"], ["1", "2", "3"]], ("a", "b"))
    assert rows == [{"a": 1}, {"a": "2", "b": "x"}]
    assert misfits == 1


def test_labels_that_are_numbers_are_labels() -> None:
    assert captured_requests.matched([1.0, 0.0, "x"], labels=True) == ["1", "0", "x"]
    assert captured_requests.matched([1.0, 0.5, "x"], labels=False) == [1.0, 0.5]
