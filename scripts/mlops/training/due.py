"""Whether a model has to be trained, and which version that makes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, Protocol

from semver import Version

from mlops.base import console
from mlops.contracts.evidence import (
    COMPARISON,
    LINEAGE,
    MONITORING_LATEST,
    OVERRIDE,
    Comparison,
    DriftReport,
    Lineage,
    Recipe,
)
from mlops.contracts.locations import evidence_uri, recipe_uri
from mlops.contracts.runs import Retraining, TrainingConf, of_merge_request, request_fingerprint
from mlops.contracts.versions import ModelVersion, parse_image_version, resource_name
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
class Subject:
    """A model, the image it would be trained with, and its owner's rules."""

    project: str
    model: str
    image_version: str
    released_at: datetime | None
    """Of the image; None where that is not known."""
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
    """What is needed of `clients.alarms.DriftAlarms`."""

    def of(self, model: str) -> AlarmState | None: ...


def decide(
    subject: Subject, bucket: str, *, sagemaker: SageMakerClient, storage: Storage, alarms: Alarms
) -> Decision:
    """Stop at the first check that decides. The cheap ones come first, the listing of the data comes last.

    All times are AWS's own: a runner's clock may be wrong.

    Raises:
        StorageError, ContractError: when evidence or data cannot be read.
        AwsError: when CloudWatch does not tell.
    """
    from mlops.clients.aws.sagemaker import newest_models

    found = newest_models(
        sagemaker, subject.project, subject.model, subject.image_version, subject.released_at
    )
    if found.of_image is None:
        return _untrained(subject, bucket, storage, found)
    case = _Case(subject, bucket, storage, alarms, found.of_image, found)
    for look in (case.unfinished, case.too_soon, case.too_old, case.drifted, case.data_changed):
        decision = look()
        if decision is not None:
            return decision
    return Decision(reason="", why=", ".join(case.notes), last=case.current)


@dataclass
class _Case:
    """A model whose image was trained. Each look returns a decision, or notes why it brought none."""

    subject: Subject
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
        return evidence_uri(self.bucket, self.subject.project, self.subject.model, version)

    def unfinished(self) -> Decision | None:
        if self.storage.exists(self.evidence + COMPARISON):
            return None
        why = f"the training of {self.current.version} goes on, or failed before it was evaluated"
        return self._because("not evaluated", why, self.trained_at)

    def too_soon(self) -> Decision | None:
        last = datetime.fromisoformat((self.found.newest or self.current).created_at)
        # The header Date has no fractions of a second, so a moment ago may seem to be ahead.
        age = max(timedelta(), self.found.now - max(last, self.trained_at))
        if age >= timedelta(seconds=self.subject.rules.min_interval_seconds):
            return None
        return Decision(reason="", why=_too_soon(age, self.subject.rules), last=self.current)

    def too_old(self) -> Decision | None:
        age, limit = self.found.now - self.trained_at, self.subject.rules.max_age_seconds
        self.notes.append(f"{self.current.version} is {_span(age)} old")
        if limit is None or age <= timedelta(seconds=limit):
            return None
        why = f"{self.notes[-1]}, at most {_span(timedelta(seconds=limit))}"
        return self._because("age", why, self.trained_at + timedelta(seconds=limit))

    def drifted(self) -> Decision | None:
        """Ignore drift that was found before this model was trained: the training responded to it."""
        if not self.subject.rules.on_drift:
            return None
        alarm: AlarmState | None = self.alarms.of(self.subject.model)  # pylint: disable=assignment-from-no-return
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
        """Without an alarm, the last report of monitoring tells."""
        uri = f"s3://{self.bucket}/{self.subject.where}{MONITORING_LATEST}"
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
        if not self.subject.rules.on_new_data:
            return None
        made_from = self.storage.read_record(Lineage, self.evidence + LINEAGE)
        listings = {name: list(self.storage.listing(uri)) for name, uri in self.subject.channels.items()}
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


def next_version(storage: Storage, subject: Subject, bucket: str, last: ListedModel | None) -> ModelVersion:
    """The version that a training of this image makes: after all that were ever evaluated, deleted ones too.

    One that did not get as far as its comparison is tried again under its own version, unless somebody had it
    deployed nevertheless: what is in production is not made anew.

    Args:
        storage: Where the evidence is.
        subject: The model and the image.
        bucket: The platform's.
        last: The newest model in SageMaker, of this image or another.

    Raises:
        StorageError: when the bucket may not be listed.
    """
    image = parse_image_version(subject.image_version)
    number = _settled(storage, subject, bucket, image) + 1
    version = ModelVersion.parse(last.version) if last else None
    if version is not None and version.image == image:
        number = max(number, version.retrain)
    return ModelVersion(image, number)


def version_to_train(
    sagemaker: SageMakerClient, storage: Storage, model: Model, image_version: str, bucket: str
) -> ModelVersion:
    """The version that the image of a push has or is to get.

    That is the last one, unless what was learned of it does not hold any more; then it is the next one. A
    training that did not get as far as its comparison does not count: it is repeated under its own version.

    Raises:
        StorageError: when S3 does not tell.
        EvidenceError: when the endpoint serves what is not a version of this model.
    """
    from mlops.clients.aws.sagemaker import latest_model
    from mlops.manifest import reader

    subject = of_manifest(model, image_version, None, bucket)
    latest = latest_model(sagemaker, model.project, model.name, image_version)
    if latest is None:
        return next_version(storage, subject, bucket, None)
    version = ModelVersion.parse(latest.version)
    evidence = evidence_uri(bucket, model.project, model.name, version)
    if not storage.exists(evidence + COMPARISON):
        return next_version(storage, subject, bucket, latest)
    asked = request_fingerprint(reader.training(model, bucket), reader.evaluation(model, bucket))
    reason = _outdated(sagemaker, storage, storage.read_record(Lineage, evidence + LINEAGE), asked, evidence)
    if not reason:
        return version
    console.say(f"{model.name} {version} is trained again: {reason}")
    return next_version(storage, subject, bucket, latest)


def trained(conf: TrainingConf, sagemaker: SageMakerClient, storage: Storage) -> bool:
    """Whether this version is there, with its evidence.

    Raises:
        StorageError: when S3 does not tell.
    """
    from mlops.clients.aws.sagemaker import describe_model

    name = resource_name(conf.project, conf.model, ModelVersion.parse(conf.model_version))
    return storage.exists(conf.evidence_uri + COMPARISON) and describe_model(sagemaker, name) is not None


def of_manifest(model: Model, image_version: str, released_at: datetime | None, bucket: str) -> Subject:
    """A model as its manifest describes it."""
    from mlops.manifest import reader

    return Subject(
        project=model.project,
        model=model.name,
        image_version=image_version,
        released_at=released_at,
        channels=reader.training(model, bucket).channels,
        rules=reader.retraining(model),
    )


def of_recipe(recipe: Recipe) -> Subject:
    """A model as its last release was trained; when that was released is not known."""
    return Subject(
        project=recipe.project,
        model=recipe.model,
        image_version=recipe.image_version,
        released_at=None,
        channels=recipe.training.channels,
        rules=recipe.retraining,
    )


def _untrained(subject: Subject, bucket: str, storage: Storage, found: NewestModels) -> Decision:
    """Of an image that has no model: due, unless an older image was trained a moment ago."""
    last, image = found.newest, subject.image_version
    version, created_at = (last.version, last.created_at) if last else ("", "")
    if last is None and not found.sure:  # too many pre-releases before it; the last training left its recipe
        uri = recipe_uri(bucket, subject.project, subject.model)
        if storage.exists(uri):
            recipe = storage.read_record(Recipe, uri)
            version, created_at = recipe.model_version, recipe.created_at
    since = subject.released_at or found.now
    if not version:
        return Decision(reason="never trained", why=f"{image} was released and never trained", since=since)
    age = found.now - datetime.fromisoformat(created_at)
    if age < timedelta(seconds=subject.rules.min_interval_seconds):
        return Decision(reason="", why=_too_soon(age, subject.rules), last=last)
    why = f"{image} was released and never trained; the last was {version}"
    return Decision(reason="newer image", why=why, since=since, last=last)


def _settled(storage: Storage, subject: Subject, bucket: str, image: Version) -> int:
    """The highest number whose comparison or override stands on S3; -1 when there is none."""
    stem = ModelVersion(image, 0).tag.removesuffix("0")
    prefix = f"{subject.where}{stem}"
    pattern = re.compile(rf"{re.escape(prefix)}(\d+)/({re.escape(COMPARISON)}|{re.escape(OVERRIDE)})")
    matches = (pattern.fullmatch(item.key) for item in storage.listing(f"s3://{bucket}/{prefix}"))
    return max((int(match[1]) for match in matches if match), default=-1)


def _outdated(
    sagemaker: SageMakerClient, storage: Storage, made_from: Lineage, asked: str, evidence: str
) -> str:
    """Why the evidence of a version does not hold any more; empty when it does."""
    from mlops.clients.aws.sagemaker import find_champion

    if of_merge_request(made_from.origin) and not parse_image_version(made_from.image_version).prerelease:
        return "a merge request trained it"  # which an earlier release of the platform let it
    if made_from.request_fingerprint != asked:
        return "mlops.yml asks for another training or evaluation"
    champion = find_champion(sagemaker, made_from.project, made_from.model)
    now = champion.version if champion else None
    compared = storage.read_record(Comparison, evidence + COMPARISON).champion
    if now not in (made_from.model_version, compared):
        return f"it was compared with {compared or 'nothing'}, and {now or 'nothing'} is in production now"
    return ""


def _too_soon(age: timedelta, rules: Retraining) -> str:
    return f"trained {_span(age)} ago, at most every {_span(timedelta(seconds=rules.min_interval_seconds))}"


def _span(time: timedelta) -> str:
    """A time as a person says it: `31 d`, `47 h`."""
    seconds = max(0, int(time.total_seconds()))
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= 2 * size), (1, "s"))
    return f"{seconds // size} {unit}"


def _minute(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
