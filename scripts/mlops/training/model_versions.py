"""Which version a training makes, and whether that version is there already."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from semver import Version

from mlops.base import console
from mlops.contracts.evidence import COMPARISON, LINEAGE, OVERRIDE, Comparison, Lineage
from mlops.contracts.locations import evidence_uri
from mlops.contracts.runs import TrainingConf, of_merge_request, request_fingerprint
from mlops.contracts.versions import ModelVersion, parse_image_version, resource_name
from mlops.training import retraining_rules

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from mlops.clients.aws.s3 import Storage
    from mlops.clients.aws.sagemaker import ListedModel
    from mlops.manifest.reader import Model
    from mlops.training.retraining_rules import ModelToRetrain


def next_version(
    storage: Storage, wanted: ModelToRetrain, bucket: str, last: ListedModel | None
) -> ModelVersion:
    """The version that a training of this image makes: after all that were ever evaluated, deleted ones too.

    One that did not get as far as its comparison is tried again under its own version, unless somebody had it
    deployed nevertheless: what is in production is not made anew.

    Args:
        storage: Where the evidence is.
        wanted: The model and the image.
        bucket: The platform's.
        last: The newest model in SageMaker, of this image or another.

    Raises:
        StorageError: when the bucket may not be listed.
    """
    image = parse_image_version(wanted.image_version)
    number = _settled(storage, wanted, bucket, image) + 1
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
        StorageError: when S3 does not answer.
        EvidenceError: when the endpoint serves what is not a version of this model.
    """
    from mlops.clients.aws.sagemaker import latest_model
    from mlops.manifest import reader

    wanted = retraining_rules.of_manifest(model, image_version, None, bucket)
    latest = latest_model(sagemaker, model.project, model.name, image_version)
    if latest is None:
        return next_version(storage, wanted, bucket, None)
    version = ModelVersion.parse(latest.version)
    evidence = evidence_uri(bucket, model.project, model.name, version)
    if not storage.exists(evidence + COMPARISON):
        return next_version(storage, wanted, bucket, latest)
    asked = request_fingerprint(reader.training(model, bucket), reader.evaluation(model, bucket))
    reason = _outdated(sagemaker, storage, storage.read_record(Lineage, evidence + LINEAGE), asked, evidence)
    if not reason:
        return version
    console.say(f"{model.name} {version} is trained again: {reason}")
    return next_version(storage, wanted, bucket, latest)


def is_trained(conf: TrainingConf, sagemaker: SageMakerClient, storage: Storage) -> bool:
    """Whether this version is there, with its evidence.

    Raises:
        StorageError: when S3 does not answer.
    """
    from mlops.clients.aws.sagemaker import describe_model

    name = resource_name(conf.project, conf.model, ModelVersion.parse(conf.model_version))
    return storage.exists(conf.evidence_uri + COMPARISON) and describe_model(sagemaker, name) is not None


def _settled(storage: Storage, wanted: ModelToRetrain, bucket: str, image: Version) -> int:
    """The highest number whose comparison or override stands on S3; -1 when there is none."""
    stem = ModelVersion(image, 0).tag.removesuffix("0")
    prefix = f"{wanted.where}{stem}"
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
