"""What the tasks of the DAG `model_training` do between SageMaker's jobs."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Any

from semver import Version

from mlops.base.errors import ContractError, EvidenceError, RunFailedError, StorageError
from mlops.clients.aws.parameter_store import read_settings
from mlops.clients.aws.sagemaker import ServedModel, describe_model, find_champion
from mlops.contracts.evidence import (
    CHALLENGER,
    CHAMPION,
    COMPARISON,
    FAILURE,
    LINEAGE,
    Comparison,
    Lineage,
    Recipe,
)
from mlops.contracts.locations import recipe_uri
from mlops.contracts.platform_settings import PlatformSettings
from mlops.contracts.runs import SCHEMA_VERSION, TRAINING_DAG, TrainingConf, of_merge_request, started_by_push
from mlops.contracts.versions import ModelVersion, resource_name
from mlops.runs.conf import read_conf
from mlops.training.lineage import data_fingerprint, lineage

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_ssm import SSMClient

    from mlops.clients.aws.s3 import Storage, StoredObject

# An archive up to this many bytes is opened to see whether there is a model in it; a larger one has one.
_SUSPICIOUS_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What the first task found out, for all others: it travels as XCom."""

    conf: TrainingConf
    settings: PlatformSettings
    run_id: str
    fingerprint: str
    champion: ServedModel | None


def prepare(
    conf: Mapping[str, Any], run_id: str, *, ssm: SSMClient, storage: Storage, sagemaker: SageMakerClient
) -> TrainingPlan:
    """Check everything that can be checked before a machine is rented, and clear what an earlier try left.

    Raises:
        SettingsError, ContractError, VersionError, StorageError: when the conf is not one to run.
        EvidenceError: when the champion cannot be compared with, or is this very version.
    """
    settings = read_settings(ssm)
    parsed = read_conf(TRAINING_DAG, conf, storage, settings)
    if not isinstance(parsed, TrainingConf):
        raise ContractError("conf is not a request for a training")
    champion = find_champion(sagemaker, parsed.project, parsed.model)
    if champion is not None:
        _check_champion(champion, parsed)
    listings = {
        name: _listing(storage, uri, settings.bucket) for name, uri in parsed.training.channels.items()
    }
    fingerprint = data_fingerprint(listings)
    if not _listing(storage, parsed.evaluation.data, settings.bucket, 1):
        raise StorageError(
            f"There is no test data at {parsed.evaluation.data}",
            next_step="Check evaluation.data in mlops.yml, and that the data was uploaded.",
        )
    # An earlier try's evaluation must not be taken for this one's, should `evaluate` write nothing.
    for name in (COMPARISON, LINEAGE, CHALLENGER, CHAMPION, FAILURE):
        storage.delete(parsed.evidence_uri + name)
    return TrainingPlan(
        conf=parsed, settings=settings, run_id=run_id, fingerprint=fingerprint, champion=champion
    )


def _listing(storage: Storage, uri: str, bucket: str, limit: int | None = None) -> list[StoredObject]:
    """The objects of a prefix; advice that can be followed when they lie where no role of ours reads."""
    try:
        return list(islice(storage.listing(uri), limit))
    except StorageError as error:
        if uri.startswith(f"s3://{bucket}/"):
            raise
        raise StorageError(
            error.what,
            cause=error.cause,
            next_step=f"Copy the data below s3://{bucket}/data/ and name it in mlops.yml: the platform's "
            "roles read no other bucket yet.",
        ) from error


def check_training(description: Mapping[str, Any], storage: Storage) -> None:
    """Look whether a training job that ended well left a model.

    Args:
        description: DescribeTrainingJob's answer.
        storage: Where the artifact is.

    Raises:
        RunFailedError: when the job was stopped, or `train` wrote nothing.
    """
    status = description.get("TrainingJobStatus")
    if status != "Completed":
        raise RunFailedError(
            f"The training job ended as {status}",
            cause=str(description.get("FailureReason") or description.get("SecondaryStatus", "")),
        )
    artifact = _artifact(description)
    found = next((item for item in storage.listing(artifact) if artifact.endswith(item.key)), None)
    if found is None or (found.size <= _SUSPICIOUS_BYTES and not _has_files(storage.read(artifact))):
        raise RunFailedError(
            "The training wrote no model",
            cause=f"{artifact} is {'missing' if found is None else 'empty'}",
            next_step="Have `train` write its model to /opt/ml/model.",
        )


def delete_stale_model(plan: TrainingPlan, sagemaker: SageMakerClient) -> None:
    """Delete a model that an earlier, failed try left; `prepare` saw that it is not in production."""
    name = resource_name(plan.conf.project, plan.conf.model, ModelVersion.parse(plan.conf.model_version))
    if describe_model(sagemaker, name) is not None:
        sagemaker.delete_model(ModelName=name)


def publish(
    plan: TrainingPlan, comparison: Comparison, description: Mapping[str, Any], storage: Storage
) -> Lineage:
    """Write the evidence, as of the comparison; comparison.json, which deploy looks for, comes last.

    Args:
        plan: Of this run.
        comparison: Of its evaluations.
        description: DescribeTrainingJob's answer.
        storage: Where evidence goes.
    """
    conf, created_at = plan.conf, comparison.created_at
    origins = lineage(
        conf,
        training_job=str(description["TrainingJobName"]),
        model_artifact=_artifact(description),
        fingerprint=plan.fingerprint,
        dag_run_id=plan.run_id,
        created_at=created_at,
    )
    storage.write_record(origins, conf.evidence_uri + LINEAGE)
    keep_recipe(conf, plan.settings.bucket, storage, created_at)
    storage.write_record(comparison, conf.evidence_uri + COMPARISON)
    storage.delete(conf.evidence_uri + FAILURE)
    return origins


def keep_recipe(conf: TrainingConf, bucket: str, storage: Storage, created_at: str) -> None:
    """Note how this image was trained, for retrainings that no pipeline starts.

    Only for a released image, never for a merge request, and not if a newer one's stands: an old pipeline
    may be run again.
    """
    image = ModelVersion.parse(conf.model_version).image
    if image.prerelease or of_merge_request(conf.origin):
        return
    uri = recipe_uri(bucket, conf.project, conf.model)
    before = _recipe(storage, uri)
    if before is not None and Version.parse(before.image_version) > image:
        return
    origin = conf.origin
    pushed = before is not None and before.image_uri == conf.image_uri and not of_merge_request(before.origin)
    if before is not None and pushed and not started_by_push(origin):
        origin = before.origin  # what is said of a model's making stays what its push said
    recipe = Recipe(
        schema_version=SCHEMA_VERSION,
        project=conf.project,
        model=conf.model,
        model_version=conf.model_version,
        image_version=conf.image_version,
        image_uri=conf.image_uri,
        origin=origin,
        created_at=created_at,
        **conf.parts(),
    )
    storage.write_record(recipe, uri)


def _recipe(storage: Storage, uri: str) -> Recipe | None:
    """What stands there; None if nothing does, or what cannot be read any more."""
    if not storage.exists(uri):
        return None
    try:
        return storage.read_record(Recipe, uri)
    except ContractError:
        return None


def _check_champion(champion: ServedModel, conf: TrainingConf) -> None:
    if champion.version == conf.model_version:
        raise EvidenceError(
            f"{conf.model} {conf.model_version} is in production, so it is not trained again",
            cause="the endpoint's evidence and model would be replaced while it serves them",
            next_step="Train a new version: push a change, or start a retraining.",
        )
    if not champion.artifact:
        raise EvidenceError(
            f"The champion {champion.version} cannot be evaluated",
            cause=f"the SageMaker model {champion.name} was deleted, though the endpoint serves it",
            next_step="Deploy another version with --override, or create it again from its lineage.json.",
        )


def _artifact(description: Mapping[str, Any]) -> str:
    return str(description["ModelArtifacts"]["S3ModelArtifacts"])


def _has_files(archive: bytes) -> bool:
    try:
        with tarfile.open(fileobj=BytesIO(archive)) as members:
            return any(member.isfile() for member in members)
    except (tarfile.TarError, EOFError, OSError, zlib.error):  # the last three are gzip's
        return False
