"""The sections of `mlops.yml`: what may be written, what is the default, what is checked.

Limits that are SageMaker's come from its API reference; botocore's service model has the same numbers.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from mlops.contracts.runs import DriftThresholds, Monitoring, Notifications, Retraining

Goal = Literal["maximize", "minimize"]

_MAXIMIZED = """
accuracy average_precision auc balanced_accuracy bleu dice explained_variance f1 f1_macro f1_micro
f1_weighted f2 iou jaccard kappa map mcc ndcg pr_auc precision r2 recall roc_auc rouge sensitivity silhouette
specificity
"""
_MINIMIZED = """
brier_score cer error_rate false_negative_rate false_positive_rate hamming_loss latency_ms log_loss loss mae
mape max_error medae mse msle perplexity rmse rmsle smape wer
"""
KNOWN_GOALS: dict[str, Goal] = {
    **dict.fromkeys(_MAXIMIZED.split(), "maximize"),
    **dict.fromkeys(_MINIMIZED.split(), "minimize"),
}

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# Nine digits: a thousand million days are the longest time that Python can add.
_DURATION = r"[1-9][0-9]{0,8}[smhd]"
DURATION = f"^{_DURATION}$"
_DATA = re.compile(r"(?P<bucket>s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/)?(?P<path>[^\s:]{1,900}?)/?")


def seconds(text: object) -> object:
    """`90s`, `30m`, `2h` or `7d` in seconds."""
    if not isinstance(text, str) or not re.fullmatch(_DURATION, text):
        raise PydanticCustomError("duration", "a time with its unit, such as 90s, 30m, 2h or 7d")
    return int(text[:-1]) * _UNITS[text[-1]]


def _relative(text: str) -> str:
    """A path below the manifest's directory, without a slash at its end."""
    parts = [part for part in text.split("/") if part not in {"", "."}]
    if text.startswith("/") or ".." in parts or "\\" in text:
        raise PydanticCustomError("path", "a path below the manifest's directory, without `..`")
    return "/".join(parts) or "."


def _data(text: str) -> str:
    """An S3 prefix as given, or a path in the platform's bucket; always with a slash at its end."""
    match = _DATA.fullmatch(text)
    if not match or {"", ".", ".."} & set(match["path"].split("/")):
        raise PydanticCustomError(
            "data", "s3://<bucket>/<prefix>/, or a path in the platform's bucket such as data/<model>/train/"
        )
    return f"{match['bucket'] or ''}{match['path']}/"


def _as_text(value: object) -> object:
    """Hyper-parameters travel as text, whatever they were written as."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else value


Duration = Annotated[int, BeforeValidator(seconds), WithJsonSchema({"type": "string", "pattern": DURATION})]
RelativePath = Annotated[
    str,
    Field(min_length=1),
    BeforeValidator(lambda value: _relative(value) if isinstance(value, str) else value),
]
DataPath = Annotated[
    str,
    Field(min_length=1),
    BeforeValidator(lambda value: _data(value) if isinstance(value, str) else value),
]
InstanceType = Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$", examples=["ml.m5.large"])]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", examples=["phishing-url"])]
ChannelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
HyperParameter = Annotated[
    str,
    Field(max_length=2500),
    BeforeValidator(_as_text),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
]
Number = Annotated[float, Field(allow_inf_nan=False)]


# What a job or an endpoint gets that does not say otherwise. Other defaults are those of the records that
# travel.
_INSTANCE_TYPE = "ml.m5.large"
_VOLUME_GB = 30


class Section(BaseModel):
    """Frozen; unknown keys and wrong types are errors, and nothing is guessed from the wrong type."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, defer_build=True
    )


class ImageSection(Section):
    """What the image is built from."""

    context: RelativePath = "."
    """The directory the Dockerfile may copy from: committed files that `.dockerignore` lets through."""
    dockerfile: RelativePath | None = None
    """Default: `Dockerfile` in the context."""


class TrainingSection(Section):
    """A SageMaker training job."""

    channels: Annotated[dict[ChannelName, DataPath], Field(min_length=1, max_length=20)]
    """Data by channel, one of them `train`: a path in the platform's bucket; its roles read no other yet."""
    instance_type: InstanceType = _INSTANCE_TYPE
    """SageMaker's type of each instance."""
    instance_count: Annotated[int, Field(ge=1, le=100)] = 1
    """How many instances train together."""
    volume_gb: Annotated[int, Field(ge=1, le=16384)] = _VOLUME_GB
    """Disk of each instance."""
    max_runtime: Annotated[Duration, Field(ge=60, le=28 * 86400)] = 3600
    """The job is stopped after this time."""
    spot: bool = False
    """Use spare capacity: cheaper, may wait and be interrupted."""
    max_wait: Annotated[Duration, Field(ge=60, le=28 * 86400)] | None = None
    """With `spot`: waiting and running together. Default: twice `max_runtime`."""
    hyper_parameters: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=256)], HyperParameter], Field(max_length=100)
    ] = {}
    """Given to the container as text."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if "train" not in self.channels:
            raise PydanticCustomError("channels", "channels with one called 'train'")
        if self.max_wait is not None and not self.spot:
            raise PydanticCustomError("wait", "max_wait only together with `spot: true`")
        if self.max_wait is not None and self.max_wait < self.max_runtime:
            raise PydanticCustomError("wait", "a max_wait that is not shorter than max_runtime")
        return self


class MetricSection(Section):
    """A metric of evaluation.json and its gate."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$", examples=["f1"])]
    """As in evaluation.json."""
    goal: Goal | None = None
    """Known for common metrics such as f1 or rmse; to be given for all others."""
    min: Number | None = None
    """The gate fails below."""
    max: Number | None = None
    """The gate fails above."""
    max_regression: Annotated[Number, Field(ge=0)] | None = None
    """How much worse than the model in production it may be, in the metric's own unit."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.goal is None and self.name not in KNOWN_GOALS:
            raise PydanticCustomError(
                "metric", "a known metric, or one with `goal: maximize` or `goal: minimize`"
            )
        if self.min is not None and self.max is not None and self.min > self.max:
            raise PydanticCustomError("bounds", "a min that is not above max")
        return self


class EvaluationSection(Section):
    """A SageMaker processing job that evaluates the new model and the one in production on the same data."""

    data: DataPath
    """The test data, written like a channel."""
    metrics: Annotated[list[MetricSection], Field(min_length=1, max_length=50)]
    """What counts, from the container's evaluation.json, and the goals of the gate."""
    instance_type: InstanceType = _INSTANCE_TYPE
    """SageMaker's type of the instance."""
    volume_gb: Annotated[int, Field(ge=1, le=16384)] = _VOLUME_GB
    """Disk of the instance."""
    max_runtime: Annotated[Duration, Field(ge=60, le=5 * 86400)] = 1800
    """The job is stopped after this time."""

    @model_validator(mode="after")
    def _unique(self) -> Self:
        names = [metric.name for metric in self.metrics]
        if len(set(names)) < len(names):
            raise PydanticCustomError("metrics", "metrics with different names")
        return self


class RetrainingSection(Section):
    """When a schedule or an event trains the newest released image again."""

    max_age: Annotated[Duration, Field(ge=3600)] | None = None
    """A model older than this is trained again. Default: never because of its age."""
    min_interval: Annotated[Duration, Field(ge=60)] = Retraining.min_interval_seconds
    """Never more often than this, whatever the reason. The default lets a daily schedule train daily."""
    on_new_data: bool = Retraining.on_new_data
    """Train again when objects of its channels were added, removed or rewritten."""
    on_drift: bool = Retraining.on_drift
    """Train again when monitoring finds that requests are no longer like the training data."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.max_age is not None and self.max_age < self.min_interval:
            raise PydanticCustomError("interval", "a max_age that is not shorter than min_interval")
        return self


class DriftThresholdsSection(Section):
    """From this size on, a significant difference counts as drift."""

    significance: Annotated[Number, Field(gt=0, le=0.2)] = DriftThresholds.significance
    """The chance of a false alarm in one run, all columns and tests together."""
    psi: Annotated[Number, Field(gt=0)] = DriftThresholds.psi
    """Population stability index of a column."""
    ks: Annotated[Number, Field(gt=0, le=1)] = DriftThresholds.ks
    """Kolmogorov-Smirnov statistic of a column of numbers."""
    missing: Annotated[Number, Field(gt=0, le=1)] = DriftThresholds.missing
    """By how much the share of missing values grew."""
    unseen: Annotated[Number, Field(gt=0, le=1)] = DriftThresholds.unseen
    """The share of values that training never saw."""


class MonitoringSection(Section):
    """Requests to the endpoint against the data it was trained on. Left out: nothing is kept or compared."""

    sampling_percent: Annotated[int, Field(ge=1, le=100)] = Monitoring.sampling_percent
    """Of the requests, which the endpoint keeps with its answers."""
    window: Annotated[Duration, Field(ge=3600, le=30 * 86400)] = Monitoring.window_seconds
    """The time up to a monitoring run whose requests it looks at."""
    baseline: DataPath | None = None
    """What they are compared with, columns named as in the requests. Default: the channel `train`."""
    ignored_columns: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=500)
    ] = []
    """Such as the label, which no request has, and keys that are new in every request."""
    min_rows: Annotated[int, Field(ge=30, le=20_000)] = Monitoring.min_rows
    """Of fewer captured rows nothing is concluded."""
    thresholds: DriftThresholdsSection = DriftThresholdsSection()
    """From this size on, a significant difference counts as drift."""


class SmokeTestSection(Section):
    """One request that a fresh endpoint must answer with HTTP 200 and this model's version."""

    content_type: Annotated[str, Field(pattern=r"^[a-z]+/[A-Za-z0-9.+-]+(; ?[a-z]+=[A-Za-z0-9-]+)?$")] = (
        "application/json"
    )
    """How the body is written."""
    body: Any = None
    """Text as it is, or a mapping or list that is sent as JSON."""
    body_file: RelativePath | None = None
    """Instead of `body`: a file below the manifest's directory."""

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if (self.body is None) == (self.body_file is None):
            raise PydanticCustomError("body", "either `body` or `body_file`")
        if not isinstance(self.body, (str, dict, list, type(None))):
            raise PydanticCustomError("body", "a body that is text, a mapping or a list")
        if isinstance(self.body, (dict, list)) and "json" not in self.content_type:
            raise PydanticCustomError("body", "a body that is text, for a content_type that is not JSON")
        return self


class DeploymentSection(Section):
    """A SageMaker endpoint."""

    smoke_test: SmokeTestSection
    """A request that a fresh endpoint must answer with HTTP 200 and this model's version."""
    instance_type: InstanceType = _INSTANCE_TYPE
    """SageMaker's type of each instance."""
    instance_count: Annotated[int, Field(ge=1, le=100)] = 1
    """How many instances the endpoint begins with, and has again when this or `instance_type` changes."""
    startup_timeout: Annotated[Duration, Field(ge=60, le=3600)] = 600
    """How long a container may take until it answers /ping."""


class NotificationsSection(Section):
    """Who hears of this model."""

    channel: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,29}$", examples=["fraud-team"])] = (
        Notifications.channel
    )
    """A channel of the platform: an e-mail topic and a Slack webhook. Terraform's `channels` lists them."""
    slack: bool = Notifications.slack
    """The model's messages go to that channel's Slack."""
    email: bool = Notifications.email
    """And to its e-mail subscribers."""


class ModelSection(Section):
    """One model."""

    training: TrainingSection
    evaluation: EvaluationSection
    deployment: DeploymentSection
    image: ImageSection = ImageSection()
    retraining: RetrainingSection = RetrainingSection()
    monitoring: MonitoringSection | None = None
    notifications: NotificationsSection = NotificationsSection()


class Document(Section):
    """The manifest of a model repository, mlops.yml."""

    project: Name
    """What the models belong to; part of every name on AWS."""
    models: Annotated[dict[Name, ModelSection], Field(min_length=1)]
    """One entry a model, by its name."""
    environments: dict[Name, dict[Name, dict[str, Any]]] = {}
    """By environment and model: keys that differ there. Mappings are merged, all else is replaced."""


def duration(value: int) -> str:
    """Seconds as they are written in a manifest, in the largest unit that fits."""
    unit = next(unit for unit in "dhms" if value % _UNITS[unit] == 0)
    return f"{value // _UNITS[unit]}{unit}"


def in_unit_of(written: str, value: int) -> str:
    """Seconds in the unit of a time that a person wrote; in the largest that fits when that one does not."""
    unit = written[-1:]
    if not re.fullmatch(_DURATION, written) or value % _UNITS[unit]:
        return duration(value)
    return f"{value // _UNITS[unit]}{unit}"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `mlops.yml`, for editors and other tools.

    An override has the shape of a model in which nothing is required, without `image`: an image is the same
    in every environment.
    """
    schema = Document.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    definitions.update({f"{name}Override": _override(part) for name, part in definitions.items()})
    for unused in ("ImageSectionOverride", "MetricSectionOverride"):
        del definitions[unused]
    del definitions["ModelSectionOverride"]["properties"]["image"]
    (by_model,) = schema["properties"]["environments"]["patternProperties"].values()
    by_model["patternProperties"] = {
        pattern: {"$ref": "#/$defs/ModelSectionOverride"} for pattern in by_model["patternProperties"]
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "mlops.yml", **_tidy(schema)}


def _override(part: Any) -> Any:
    if isinstance(part, list):
        return [_override(item) for item in part]
    if not isinstance(part, dict):
        return part
    loose = {}
    for key, value in part.items():
        if key == "$ref":
            loose[key] = f"{value}Override"
        elif key == "items":  # a list is replaced as a whole, so what stands in it is complete
            loose[key] = value
        elif key not in {"required", "default"}:
            loose[key] = _override(value)
    return loose


def _tidy(part: Any) -> Any:
    """Without generated titles, with defaults as they are written, and closed where keys have a pattern."""
    if isinstance(part, list):
        return [_tidy(item) for item in part]
    if not isinstance(part, dict):
        return part
    tidy = {key: _tidy(value) for key, value in part.items() if key not in {"title", "propertyNames"}}
    if part.get("pattern") == DURATION and "default" in part:
        tidy["default"] = duration(part["default"])
    if "patternProperties" in part:
        tidy["additionalProperties"] = False
    return tidy
