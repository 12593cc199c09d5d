"""An endpoint's captured requests and answers, as monitoring compares them.

Format and layout: https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html
"""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from mlops.monitoring import reservoir
from mlops.monitoring.baseline import Files
from mlops.monitoring.drift import Value, category, value

# A file that SageMaker writes holds minutes of requests, and is named after the time it was written.
_LATE = timedelta(hours=1)
_HOUR = re.compile(r"/(?P<hour>\d{4}/\d\d/\d\d/\d\d)/[^/]+\.jsonl$")

_ROWS = ("instances", "inputs", "data")
_PREDICTIONS = ("predictions", "outputs", "prediction", "output")
_LABEL = ("label", "class", "predicted_label", "prediction", "predicted_value", "value", "score")


@dataclass
class Captured:
    """What a window holds. `rows` are mappings, or lists where the request had no names."""

    rows: list[Mapping[str, object] | list[object]] = field(default_factory=list)
    predictions: list[Value] = field(default_factory=list)
    """Of the version that is asked about only: an endpoint may have served another before."""
    requests: int = 0
    unreadable: int = 0
    trouble: str = ""
    """Why a request could not be read, such as the last one."""
    sampled: bool = False


def read(files: Files, prefix: str, start: datetime, end: datetime, version: str) -> Captured:
    """What an endpoint's variant was asked in a window; of a busy one a fair sample.

    Args:
        files: S3.
        prefix: `<destination>/<endpoint>/<variant>/`.
        start: The first moment that belongs to the window, in UTC.
        end: The first that does not.
        version: The model version whose predictions are wanted.

    Raises:
        StorageError: when S3 does not answer.
    """
    bucket = prefix.removeprefix("s3://").partition("/")[0]
    chosen = reservoir.Reservoir[tuple[str, int]](reservoir.FILES, prefix)
    for one in _keys(files, prefix, start, end):
        chosen.offer(one)
    found = Captured(sampled=chosen.offered > len(chosen.items))
    room = reservoir.BYTES
    for key, size in reservoir.shuffled(chosen.items, prefix):
        if len(found.rows) >= reservoir.ROWS or room <= 0:
            found.sampled = True
            break
        for line in files.lines(f"s3://{bucket}/{key}", min(room, size)):
            _add(found, line, start, end, version)
        room -= size
    if len(found.rows) > reservoir.ROWS:
        found.sampled = True
        del found.rows[reservoir.ROWS :]
    return found


def _keys(files: Files, prefix: str, start: datetime, end: datetime) -> Iterator[tuple[str, int]]:
    """Keys and sizes of the files that may hold requests of the window: one listing a day, page by page."""
    first, last = start.strftime("%Y/%m/%d/%H"), (end + _LATE).strftime("%Y/%m/%d/%H")
    day = start.replace(hour=0, minute=0, second=0, microsecond=0)
    while day <= end + _LATE:
        for one in files.listing(f"{prefix}{day:%Y/%m/%d}/"):
            match = _HOUR.search(one.key)
            if match and first <= match["hour"] <= last and one.size:
                yield one.key, one.size
        day += timedelta(days=1)


def _add(found: Captured, line: bytes, start: datetime, end: datetime, version: str) -> None:
    try:
        document = json.loads(line)
        time = datetime.fromisoformat(document["eventMetadata"]["inferenceTime"])
        if not start <= time < end:
            return
        found.requests += 1
        data = document["captureData"]
        rows = _rows(_text(data["endpointInput"]), str(data["endpointInput"].get("observedContentType", "")))
        found.rows.extend(rows)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        found.unreadable += 1
        found.trouble = f"{type(error).__name__}: {error}"[:300]
        return
    output = data.get("endpointOutput")
    if output:
        try:
            found.predictions.extend(
                _predictions(_text(output), str(output.get("observedContentType", "")), version)
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error):
            return  # an answer in a form of its own: the rows are compared all the same


def _text(payload: Mapping[str, Any]) -> str:
    data = str(payload["data"])
    if payload.get("encoding") == "BASE64":
        return base64.b64decode(data, validate=True).decode()
    return data


def _rows(text: str, content_type: str) -> list[Mapping[str, object] | list[object]]:
    """The rows of a request: JSON with or without `instances`, JSON lines, or CSV without a header."""
    if content_type.startswith("text/csv"):
        return [list(row) for row in csv.reader(io.StringIO(text)) if row]
    if "jsonlines" in content_type or "ndjson" in content_type:
        documents = [json.loads(line) for line in text.splitlines() if line.strip()]
    else:
        document = json.loads(text)
        if isinstance(document, dict):
            inner = next((document[name] for name in _ROWS if isinstance(document.get(name), list)), None)
            document = [document] if inner is None else inner
        documents = document
    if not isinstance(documents, list):
        raise TypeError("the request is neither a list nor an object")
    if documents and all(not isinstance(row, (dict, list)) for row in documents):
        documents = [documents]  # one row without names
    if not all(isinstance(row, (dict, list)) for row in documents):
        raise TypeError("the request's rows are neither objects nor lists")
    return documents


def _predictions(text: str, content_type: str, version: str) -> list[Value]:
    if content_type.startswith("text/csv"):
        return [value(row[0]) for row in csv.reader(io.StringIO(text)) if row]
    lines = text.splitlines() if "jsonlines" in content_type else [text]
    found: list[Value] = []
    for line in lines:
        document = json.loads(line)
        if isinstance(document, dict):
            model = document.get("model")
            if isinstance(model, dict) and model.get("version", version) != version:
                continue
            document = next((document[name] for name in _PREDICTIONS if name in document), document)
        found.extend(_prediction(item) for item in (document if isinstance(document, list) else [document]))
    return [one for one in found if one is not None]


def _prediction(item: object) -> Value:
    if isinstance(item, dict):
        item = next((item[name] for name in _LABEL if name in item), None)
    return value(item)


def named(
    rows: Sequence[Mapping[str, object] | list[object]], order: Sequence[str]
) -> tuple[list[Mapping[str, object]], int]:
    """Rows with names, lists taken in the order of the training data's columns; and how many do not fit."""
    fitting: list[Mapping[str, object]] = []
    misfits = 0
    for row in rows:
        if isinstance(row, Mapping):
            fitting.append(row)
        elif len(row) == len(order):
            fitting.append(dict(zip(order, row, strict=True)))
        else:
            misfits += 1
    return fitting, misfits


def matched(predictions: Iterable[Value], *, labels: bool) -> list[Value]:
    """The predictions in the form of the baseline's: names of labels, or numbers."""
    if labels:
        return [category(one) for one in predictions if one is not None]
    return [one for one in predictions if isinstance(one, float)]


def unknown_columns(rows: Iterable[Mapping[str, object]], known: Iterable[str]) -> list[str]:
    """Keys of requests that the training data do not have, most frequent first."""
    expected = set(known)
    counts = Counter(name for row in rows for name in row if name not in expected)
    # A caller of the endpoint chooses these names, and people read them.
    return [name if name.isprintable() else ascii(name) for name, _ in counts.most_common(20)]
