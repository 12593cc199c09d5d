"""What a model was trained on, as monitoring compares it: CSV files with a header, or JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mlops.base.errors import MonitoringError
from mlops.contracts.evidence import EvaluationReport
from mlops.monitoring import reservoir
from mlops.monitoring.drift import Rows, Value, category, value

if TYPE_CHECKING:
    from mlops.clients.aws.s3 import StoredObject

_FORMATS = (".csv", ".jsonl", ".ndjson")
_FIELD_LIMIT = 128 * 1024
_FORMAT_ADVICE = (
    "Let monitoring.baseline in mlops.yml name a prefix of CSV files with a header, or of JSON lines."
)


class Files(Protocol):
    """What is needed of `clients.storage.Storage`."""

    def listing(self, prefix: str) -> Iterator[StoredObject]: ...

    def lines(self, uri: str, limit: int) -> Iterator[bytes]: ...


@dataclass(frozen=True)
class Baseline:
    """The rows, and in which order CSV had their columns: a request in CSV has no header."""

    rows: Rows
    order: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read(files: Files, prefix: str, ignored: Iterable[str]) -> Baseline:
    """A sample of the training data.

    Args:
        files: S3.
        prefix: Where they are.
        ignored: Columns to leave out.

    Raises:
        StorageError: when they may not be read.
        MonitoringError: when there are none, or they are in another format.
    """
    bucket = prefix.removeprefix("s3://").partition("/")[0]
    found = [one for one in files.listing(prefix) if one.size and one.key.lower().endswith(_FORMATS)]
    if not found:
        raise MonitoringError(
            f"There is no baseline at {prefix}",
            cause=f"no file there ends with {', '.join(_FORMATS)}",
            next_step=_FORMAT_ADVICE,
        )
    chosen = reservoir.shuffled(found, prefix)
    budget = max(reservoir.BYTES // len(chosen), 64 * 1024)
    kept = reservoir.Reservoir[tuple[tuple[str, ...], object]](reservoir.ROWS, prefix)
    for one in chosen:
        uri = f"s3://{bucket}/{one.key}"
        reader = _csv_rows if one.key.lower().endswith(".csv") else _json_rows
        for row in reader(files.lines(uri, budget), uri):
            kept.offer(row)
    notes = []
    if kept.offered > len(kept.items) or sum(one.size for one in chosen) > reservoir.BYTES:
        notes.append(f"The baseline is a sample of {len(kept.items)} rows.")
    left_out = set(ignored)
    order = _order(kept.items, left_out)
    if len(order) > reservoir.COLUMNS:
        notes.append(f"Only the first {reservoir.COLUMNS} of {len(order)} columns are compared.")
    return Baseline(
        table([_mapping(row) for row in kept.items], order[: reservoir.COLUMNS]), tuple(order), tuple(notes)
    )


def table(rows: list[Mapping[str, object]], names: Iterable[str]) -> Rows:
    """Rows turned into columns; a key that a row lacks, or that holds no single value, is a missing one."""
    names = list(names)
    rows = rows[: max(reservoir.CELLS // max(len(names), 1), 1)]
    return Rows(len(rows), {name: [_value(row.get(name)) for row in rows] for name in names})


def predictions(report: EvaluationReport) -> list[Value] | None:
    """What the model predicted on the test data, one value a row; None if the report does not say.

    Labels count as often as they were predicted. Without `predictions`, the confusion matrix's columns count.
    """
    told = report.predictions
    if told is not None and told.numbers:
        return list(told.numbers)
    if told is not None:
        counts = told.labels
    elif report.confusion_matrix is not None:
        matrix = report.confusion_matrix
        sums = [sum(column) for column in zip(*matrix.matrix, strict=True)]
        counts = dict(zip(matrix.labels, sums, strict=True))
    else:
        return None
    # An earlier release accepted counts below 0, and no release bounds them: a float may not hold one.
    counts = {name: max(count, 0) for name, count in counts.items()}
    total = sum(counts.values())
    # As shares of a bounded sample: a test set of millions is not a reason to fill the memory.
    rows = min(total, reservoir.ROWS)
    return [
        _label(name)
        for name, count in counts.items()
        for _ in range((2 * count * rows + total) // (2 * total) if total else 0)
    ]


def _label(name: str) -> Value:
    known = value(name)
    return name if known is None else category(known)


def _value(raw: object) -> Value:
    try:
        return value(raw)
    except TypeError:
        return None


def _order(rows: list[tuple[tuple[str, ...], object]], ignored: set[str]) -> list[str]:
    names: dict[str, None] = {}
    for header, row in rows:
        names.update(dict.fromkeys(header or (row if isinstance(row, dict) else ())))
    return [name for name in names if name not in ignored]


def _mapping(row: tuple[tuple[str, ...], object]) -> Mapping[str, object]:
    header, content = row
    if isinstance(content, dict):
        return content
    return dict(zip(header, content, strict=False)) if isinstance(content, list) else {}


def _csv_rows(lines: Iterator[bytes], uri: str) -> Iterator[tuple[tuple[str, ...], object]]:
    csv.field_size_limit(_FIELD_LIMIT)
    reader = csv.reader(line.decode("utf-8-sig", "replace") for line in lines)
    try:
        header = tuple(name.strip() for name in next(reader, []))
        if (
            not header
            or len(set(header)) < len(header)
            or all(isinstance(value(name), float) for name in header)
        ):
            raise MonitoringError(
                f"{uri} has no header",
                cause=f"its first line is {','.join(header)[:200]!r}",
                next_step=_FORMAT_ADVICE,
            )
        for row in reader:
            if row:
                yield header, row
    except csv.Error as error:
        raise MonitoringError(f"{uri} is not CSV", cause=str(error), next_step=_FORMAT_ADVICE) from error


def _json_rows(lines: Iterator[bytes], uri: str) -> Iterator[tuple[tuple[str, ...], object]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise MonitoringError(
                f"{uri}, line {number} is not JSON", cause=str(error), next_step=_FORMAT_ADVICE
            ) from error
        if not isinstance(row, dict):
            raise MonitoringError(f"{uri}, line {number} is not a JSON object", next_step=_FORMAT_ADVICE)
        yield (), row
