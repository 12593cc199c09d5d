"""What a training leaves beside its model on S3, and a deployment reads again. Pure data.

Below a model version's evidence prefix:
    challenger/evaluation.json   written by the new model's container
    champion/evaluation.json     written by the container of the model in production, on the same data
    comparison.json              the two side by side, and the gate
    lineage.json                 what the model was made from
    deployment.json              what is deployed when somebody approves this version in the model registry
    failure.json                 instead, when the run failed: the cause

Beside the versions of a model:
    recipe.json                  how its newest released image is trained, for those without its manifest
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from mlops.base.errors import EvidenceError
from mlops.contracts.runs import ModelPlan, ModelRecord, ModelVersionRecord, Origin

CHALLENGER = "challenger/evaluation.json"
CHAMPION = "champion/evaluation.json"
COMPARISON = "comparison.json"
LINEAGE = "lineage.json"
FAILURE = "failure.json"
DEPLOYMENT = "deployment.json"
OVERRIDE = "override.json"
RECIPE = "recipe.json"

# Below a model's own prefix, beside its versions' evidence.
MONITORING_LATEST = "monitoring/latest.json"

PREDICTIONS_LIMIT = 1000

GateState = Literal["passed", "failed"]


@dataclass(frozen=True, kw_only=True)
class ConfusionMatrix:
    """Counts; `matrix[i][j]` is how often true label i was predicted as label j."""

    labels: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]

    def impossible(self) -> str:
        """What cannot be right, with the path of the key; empty when nothing is."""
        first = {label: index for index, label in reversed(list(enumerate(self.labels)))}
        for index, label in enumerate(self.labels):
            if first[label] != index:
                return f"confusion_matrix.labels[{index}] is the same as labels[{first[label]}]"
        for index, row in enumerate(self.matrix):
            for column, count in enumerate(row):
                if count < 0:
                    return f"confusion_matrix.matrix[{index}][{column}] is {count}; a count is not below 0"
        return ""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Points of a curve such as `roc` or `precision_recall`, x and y of equal length."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    x_label: str = ""
    y_label: str = ""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a model predicted on the test data: how often each label, or a sample of numbers."""

    labels: dict[str, int] = field(default_factory=dict)
    numbers: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.labels) == bool(self.numbers):
            raise EvidenceError("evaluation.json: `predictions` must hold either `labels` or `numbers`")
        if len(self.numbers) > PREDICTIONS_LIMIT or len(self.labels) > PREDICTIONS_LIMIT:
            raise EvidenceError(
                f"evaluation.json: `predictions` has more than {PREDICTIONS_LIMIT} values",
                next_step="Write a sample of them.",
            )
        if any(count < 0 for count in self.labels.values()):
            raise EvidenceError("evaluation.json: a count of `predictions.labels` is negative")


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """evaluation.json, as the container's `evaluate` writes it."""

    metrics: dict[str, float]
    schema_version: int = 1
    """A file without it is of the first format, for good: a container is not built again for a new one."""
    counts: dict[str, int] = field(default_factory=dict)
    confusion_matrix: ConfusionMatrix | None = None
    curves: dict[str, Curve] = field(default_factory=dict)
    slices: dict[str, dict[str, float]] = field(default_factory=dict)
    """Metrics of a named part of the data."""
    predictions: Predictions | None = None
    """What monitoring compares the endpoint's predictions with; without, it takes the confusion matrix."""

    def __post_init__(self) -> None:
        if not self.metrics:
            raise EvidenceError(
                "evaluation.json has no metrics", next_step="Have `evaluate` write at least one."
            )
        if self.confusion_matrix is not None:
            size = len(self.confusion_matrix.labels)
            if [len(row) for row in self.confusion_matrix.matrix] != [size] * size:
                raise EvidenceError(f"evaluation.json: the confusion matrix is not {size} by {size}")


@dataclass(frozen=True, kw_only=True)
class MetricComparison:
    """One line of the table. `change` is challenger minus champion, in the metric's unit."""

    name: str
    goal: Literal["maximize", "minimize"]
    challenger: float
    champion: float | None
    change: float | None
    gate: GateState
    reason: str = ""
    """Why the gate failed; empty when it passed."""


@dataclass(frozen=True, kw_only=True)
class Comparison(ModelRecord):
    """comparison.json: challenger and champion on the same data, and the gate."""

    challenger: str
    """A model version."""
    champion: str | None
    """The version in production when the run began; None when nothing was deployed."""
    gate: GateState
    metrics: tuple[MetricComparison, ...]
    evaluated_on: str
    """The S3 prefix of the test data."""
    created_at: str
    """UTC, ISO 8601."""

    def reasons(self) -> list[str]:
        """Why the gate failed, one reason a metric."""
        return [f"{line.name}: {line.reason}" for line in self.metrics if line.gate == "failed"]


@dataclass(frozen=True, kw_only=True)
class Lineage(ModelVersionRecord):
    """lineage.json: what a model was made from."""

    image_version: str
    image_uri: str
    training_job: str
    model_artifact: str
    """The S3 object of model.tar.gz."""
    channels: dict[str, str]
    data_fingerprint: str
    """SHA-256 over keys, sizes and ETags of all objects of the channels."""
    hyper_parameters: dict[str, str]
    request_fingerprint: str
    """`runs.request_fingerprint`: what the manifest asked for."""
    dag_run_id: str
    created_at: str
    origin: Origin = Origin()


@dataclass(frozen=True, kw_only=True)
class Failure(ModelVersionRecord):
    """failure.json: why a run failed."""

    dag_id: str
    run_id: str
    task_id: str
    cause: str
    """The real cause: SageMaker's failure reason with the last log lines, or the exception."""
    log_url: str
    next_step: str


@dataclass(frozen=True, kw_only=True)
class Recipe(ModelPlan, ModelVersionRecord):
    """recipe.json: all that training a model again takes, as its last release was trained.

    The version is the one that was trained so, and evaluated.
    """

    image_version: str
    image_uri: str
    origin: Origin = Origin()
    """Of the push that brought the recipe, as far as a run knew it."""
    created_at: str


@dataclass(frozen=True, kw_only=True)
class ColumnDrift:
    """What a monitoring run found of one column. Shares are of all rows, 0 to 1."""

    name: str
    kind: Literal["number", "category", "text"]
    """Texts that are nearly all different have no distribution: only missing ones are compared."""
    drifted: bool
    psi: float
    """Population stability index against training."""
    ks: float | None
    """Kolmogorov-Smirnov statistic; None if it is not a number."""
    p_value: float
    """The smallest of its tests, before it is weighed against the number of tests."""
    missing: float
    baseline_missing: float
    unseen: float
    """Values that training never saw, as a share of those that are there."""
    reason: str = ""
    """Why it drifted; empty when it did not."""


@dataclass(frozen=True, kw_only=True)
class DriftReport(ModelVersionRecord):
    """monitoring/<window>.json: one window of an endpoint's requests against the training data.

    The version is the one in production.
    """

    state: Literal["drifted", "stable", "too_few_rows"]
    window_start: str
    window_end: str
    """UTC, ISO 8601; the start belongs to the window, the end does not."""
    rows: int
    """That were compared; of a busy endpoint a sample."""
    baseline_rows: int
    columns: tuple[ColumnDrift, ...]
    """Those that drifted first."""
    predictions: ColumnDrift | None
    notes: tuple[str, ...]
    """What was left out or looked odd, for people."""
    dag_run_id: str
    created_at: str

    def drifted(self) -> list[ColumnDrift]:
        """What drifted, the predictions last."""
        found = [*self.columns, *([self.predictions] if self.predictions else [])]
        return [one for one in found if one.drifted]


def monitoring_key(window_end: str) -> str:
    """Where a window's report lies, below the model's own prefix; the end is ISO 8601 with a time zone."""
    end = datetime.fromisoformat(window_end).astimezone(UTC)
    return f"monitoring/{end:%Y-%m-%dT%H-%M-%SZ}.json"
