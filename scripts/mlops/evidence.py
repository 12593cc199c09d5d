"""What a training leaves beside its model on S3, and a deployment reads again. Pure data.

Below a model version's evidence prefix:
    challenger/evaluation.json   written by the new model's container
    champion/evaluation.json     written by the container of the model in production, on the same data
    comparison.json              the two side by side, and the gate
    lineage.json                 what the model was made from
    deployment.json              what is deployed when somebody approves this version in the model registry
    failure.json                 instead, when the run failed: the cause

Beside the versions of a model:
    recipe.json                  how its newest released image is trained, for those who have no manifest at hand
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mlops.contract import Deployment, Evaluation, Monitoring, Notifications, Origin, Retraining, Training
from mlops.errors import EvidenceError

CHALLENGER = "challenger/evaluation.json"
CHAMPION = "champion/evaluation.json"
COMPARISON = "comparison.json"
LINEAGE = "lineage.json"
FAILURE = "failure.json"
DEPLOYMENT = "deployment.json"
RECIPE = "recipe.json"

GateState = Literal["passed", "failed"]


@dataclass(frozen=True, kw_only=True)
class ConfusionMatrix:
    """Counts; `matrix[i][j]` is how often true label i was predicted as label j."""

    labels: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Points of a curve such as `roc` or `precision_recall`, x and y of equal length."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    x_label: str = ""
    y_label: str = ""


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """evaluation.json, as the container's `evaluate` writes it."""

    schema_version: int
    metrics: dict[str, float]
    counts: dict[str, int] = field(default_factory=dict)
    confusion_matrix: ConfusionMatrix | None = None
    curves: dict[str, Curve] = field(default_factory=dict)
    slices: dict[str, dict[str, float]] = field(default_factory=dict)
    """Metrics of a named part of the data."""

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
class Comparison:
    """comparison.json: challenger and champion on the same data, and the gate."""

    schema_version: int
    project: str
    model: str
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
class Lineage:
    """lineage.json: what a model was made from."""

    schema_version: int
    project: str
    model: str
    model_version: str
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
    """`contract.request_fingerprint`: what the manifest asked for."""
    dag_run_id: str
    created_at: str
    origin: Origin = Origin()


@dataclass(frozen=True, kw_only=True)
class Failure:
    """failure.json: why a run failed."""

    schema_version: int
    project: str
    model: str
    model_version: str
    dag_id: str
    run_id: str
    task_id: str
    cause: str
    """The real cause: SageMaker's failure reason with the last log lines, or the exception."""
    log_url: str
    next_step: str


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """recipe.json: all that training a model again takes, as its last release was trained."""

    schema_version: int
    project: str
    model: str
    model_version: str
    """The version that was trained so, and evaluated."""
    image_version: str
    image_uri: str
    training: Training
    evaluation: Evaluation
    retraining: Retraining
    notifications: Notifications
    monitoring: Monitoring | None = None
    deployment: Deployment | None = None
    origin: Origin = Origin()
    """Of the push that brought the recipe, as far as a run knew it."""
    created_at: str
