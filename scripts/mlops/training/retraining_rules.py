"""Whether a model has to be trained again.

Its owner's rules of age, drift and new data, held against what is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, Protocol

from mlops.contracts.evidence import (
    COMPARISON,
    LINEAGE,
    MONITORING_LATEST,
    DriftReport,
    Lineage,
    Recipe,
)
from mlops.contracts.locations import evidence_uri, recipe_uri
from mlops.contracts.runs import Retraining
from mlops.contracts.versions import ModelVersion
from mlops.training.lineage import data_fingerprint

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from mlops.clients.aws.alarms import AlarmState
    from mlops.clients.aws.s3 import Storage
    from mlops.clients.aws.sagemaker import ListedModel, NewestModels
    from mlops.manifest.reader import Model

Reason = Literal["never trained", "newer image", "not evaluated", "age", "drift", "new data", ""]

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True, kw_only=True)
class ModelToRetrain:
    """A model, the image it would be trained with, and its owner's rules."""

    project: str
    model: str
    image_version: str
    released_at: datetime | None
    """Of the image; None if that is not known."""
    channels: Mapping[str, str]
    """The training data: an S3 prefix by channel."""
    rules: Retraining

    @property
    def where(self) -> str:
        """The prefix of all its versions."""
        return f"{self.project}/{self.model}/"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether a model is due, why, and since when."""

    reason: Reason
    """Empty when it is not due."""
    why: str
    since: datetime | None = None
    """When the reason came to be; None when it is not due."""
    last: ListedModel | None = None
    """The last version that was trained of its image, or else of an older one."""

    @property
    def due(self) -> bool:
        return bool(self.reason)


class Alarms(Protocol):
    """What is needed of `clients.aws.alarms.DriftAlarms`."""

    def for_model(self, model: str) -> AlarmState | None: ...


def decide(
    wanted: ModelToRetrain, bucket: str, *, sagemaker: SageMakerClient, storage: Storage, alarms: Alarms
) -> Decision:
    """Stop at the first check that decides. The cheap ones come first, the listing of the data comes last.

    All times are AWS's own: a runner's clock may be wrong.

    Raises:
        StorageError, ContractError: when evidence or data cannot be read.
        AwsError: when CloudWatch does not answer.
    """
    from mlops.clients.aws.sagemaker import newest_models

    found = newest_models(sagemaker, wanted.project, wanted.model, wanted.image_version, wanted.released_at)
    if found.of_image is None:
        return _untrained(wanted, bucket, storage, found)
    case = _Case(wanted, bucket, storage, alarms, found.of_image, found)
    for look in (case.unfinished, case.too_soon, case.too_old, case.drifted, case.data_changed):
        decision = look()
        if decision is not None:
            return decision
    return Decision(reason="", why=", ".join(case.notes), last=case.current)


@dataclass
class _Case:
    """A model whose image was trained. Each look returns a decision, or notes why it brought none."""

    wanted: ModelToRetrain
    bucket: str
    storage: Storage
    alarms: Alarms
    current: ListedModel
    found: NewestModels
    notes: list[str] = field(default_factory=list)

    @property
    def trained_at(self) -> datetime:
        return datetime.fromisoformat(self.current.created_at)

    @property
    def evidence(self) -> str:
        version = ModelVersion.parse(self.current.version)
        return evidence_uri(self.bucket, self.wanted.project, self.wanted.model, version)

    def unfinished(self) -> Decision | None:
        if self.storage.exists(self.evidence + COMPARISON):
            return None
        why = f"the training of {self.current.version} goes on, or failed before it was evaluated"
        return self._because("not evaluated", why, self.trained_at)

    def too_soon(self) -> Decision | None:
        last = datetime.fromisoformat((self.found.newest or self.current).created_at)
        # The header Date has no fractions of a second, so a moment ago may seem to be ahead.
        age = max(timedelta(), self.found.now - max(last, self.trained_at))
        if age >= timedelta(seconds=self.wanted.rules.min_interval_seconds):
            return None
        return Decision(reason="", why=_too_soon(age, self.wanted.rules), last=self.current)

    def too_old(self) -> Decision | None:
        age, limit = self.found.now - self.trained_at, self.wanted.rules.max_age_seconds
        self.notes.append(f"{self.current.version} is {_span(age)} old")
        if limit is None or age <= timedelta(seconds=limit):
            return None
        why = f"{self.notes[-1]}, at most {_span(timedelta(seconds=limit))}"
        return self._because("age", why, self.trained_at + timedelta(seconds=limit))

    def drifted(self) -> Decision | None:
        """Ignore drift that was found before this model was trained: the training responded to it."""
        if not self.wanted.rules.on_drift:
            return None
        alarm: AlarmState | None
        alarm = self.alarms.for_model(self.wanted.model)  # pylint: disable=assignment-from-no-return
        if alarm is None:
            return self._drift_reported()
        if not alarm.raised:
            self.notes.append("there is no drift")
        elif alarm.since <= self.trained_at:
            self.notes.append(f"it is the answer to the drift of {_minute(alarm.since)}: deploy it")
        else:
            return self._because("drift", "its drift alarm was raised", alarm.since)
        return None

    def _drift_reported(self) -> Decision | None:
        """Without an alarm, the last report of monitoring decides."""
        uri = f"s3://{self.bucket}/{self.wanted.where}{MONITORING_LATEST}"
        if not self.storage.exists(uri):
            self.notes.append("nothing watches for drift")
            return None
        report = self.storage.read_record(DriftReport, uri)
        if report.state != "drifted":
            self.notes.append("there is no drift")
        elif report.model_version != self.current.version:
            self.notes.append(f"the drift is that of {report.model_version}: deploy it")
        else:
            names = ", ".join(column.name for column in report.drifted()[:3])
            since = datetime.fromisoformat(report.window_end)
            return self._because("drift", f"monitoring found drift of {names}", since)
        return None

    def data_changed(self) -> Decision | None:
        """The same objects written once more, with the same content, are no other data."""
        if not self.wanted.rules.on_new_data:
            return None
        made_from = self.storage.read_record(Lineage, self.evidence + LINEAGE)
        listings = {name: list(self.storage.listing(uri)) for name, uri in self.wanted.channels.items()}
        if data_fingerprint(listings) == made_from.data_fingerprint:
            self.notes.append("its data is the same")
            return None
        version = self.current.version
        times = [(item.modified, item.key) for items in listings.values() for item in items if item.modified]
        newest, key = max(times, default=(self.trained_at, ""))
        if newest <= self.trained_at:
            why = f"objects that {version} learned from were removed, or its channels moved"
        else:
            why = f"{version} did not learn from all its data; the newest is {key}"
        return self._because("new data", why, max(newest, self.trained_at))

    def _because(self, reason: Reason, why: str, since: datetime) -> Decision:
        return Decision(reason=reason, why=why, since=since, last=self.current)


def of_manifest(
    model: Model, image_version: str, released_at: datetime | None, bucket: str
) -> ModelToRetrain:
    """A model as its manifest describes it."""
    from mlops.manifest import reader

    return ModelToRetrain(
        project=model.project,
        model=model.name,
        image_version=image_version,
        released_at=released_at,
        channels=reader.training(model, bucket).channels,
        rules=reader.retraining(model),
    )


def of_recipe(recipe: Recipe) -> ModelToRetrain:
    """A model as its last release was trained; when that was released is not known."""
    return ModelToRetrain(
        project=recipe.project,
        model=recipe.model,
        image_version=recipe.image_version,
        released_at=None,
        channels=recipe.training.channels,
        rules=recipe.retraining,
    )


def _untrained(wanted: ModelToRetrain, bucket: str, storage: Storage, found: NewestModels) -> Decision:
    """Of an image that has no model: due, unless an older image was trained a moment ago."""
    last, image = found.newest, wanted.image_version
    version, created_at = (last.version, last.created_at) if last else ("", "")
    if last is None and not found.sure:  # too many pre-releases before it; the last training left its recipe
        uri = recipe_uri(bucket, wanted.project, wanted.model)
        if storage.exists(uri):
            recipe = storage.read_record(Recipe, uri)
            version, created_at = recipe.model_version, recipe.created_at
    since = wanted.released_at or found.now
    if not version:
        return Decision(reason="never trained", why=f"{image} was released and never trained", since=since)
    age = found.now - datetime.fromisoformat(created_at)
    if age < timedelta(seconds=wanted.rules.min_interval_seconds):
        return Decision(reason="", why=_too_soon(age, wanted.rules), last=last)
    why = f"{image} was released and never trained; the last was {version}"
    return Decision(reason="newer image", why=why, since=since, last=last)


def _too_soon(age: timedelta, rules: Retraining) -> str:
    return f"trained {_span(age)} ago, at most every {_span(timedelta(seconds=rules.min_interval_seconds))}"


def _span(time: timedelta) -> str:
    """A time as a person says it: `31 d`, `47 h`."""
    seconds = max(0, int(time.total_seconds()))
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= 2 * size), (1, "s"))
    return f"{seconds // size} {unit}"


def _minute(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
