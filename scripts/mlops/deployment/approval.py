"""SageMaker's model registry, where people approve versions: its entries, and what an approval asks for.

A released version is registered once it was evaluated: pending where its gate passed, else rejected.
What is deployed on approval stands in `deployment.json` beside the model; the package holds its URI and hash.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mlops.base.errors import ContractError, DeploymentRefusedError, MlopsError, SettingsError
from mlops.base.strict_json import dumps
from mlops.clients.aws import model_packages
from mlops.clients.aws.sagemaker_requests import model_package, package_description
from mlops.clients.aws.session import explained
from mlops.contracts.evidence import DEPLOYMENT, Comparison
from mlops.contracts.locations import evidence_uri
from mlops.contracts.runs import (
    DEPLOYMENT_DAG,
    SCHEMA_VERSION,
    ApprovalConf,
    DeploymentConf,
    TrainingConf,
    conf_pointer,
    is_to_come,
    of_merge_request,
)
from mlops.contracts.versions import ModelVersion, endpoint_name
from mlops.runs.conf import read_conf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_sagemaker import SageMakerClient

    from mlops.clients.aws.s3 import Storage
    from mlops.contracts.platform_settings import PlatformSettings

MODEL_VERSION = "mlops:model-version"
EVIDENCE_URI = "mlops:evidence-uri"
DEPLOYMENT_URI = "mlops:deployment-uri"
DEPLOYMENT_SHA256 = "mlops:deployment-sha256"
COMMIT = "mlops:commit"
TRAINING_RUN = "mlops:training-run"
DEPLOYED_AT = "mlops:deployed-at"
DEPLOYMENT_RUN = "mlops:deployment-run"

# An approval no more than this after the platform's own is the event of that one.
_OWN = timedelta(seconds=60)


class NothingToDeploy(Exception):  # noqa: N818  # a result, not an error
    """An approval that asks for nothing that is still to be done; its text says why."""


class OvertakenApproval(NothingToDeploy):
    """An approval of a version that stays out of production, as what is there was decided on later."""

    def __init__(self, approval: Approval, why: str) -> None:
        super().__init__(why)
        self.approval = approval


@dataclass(frozen=True, kw_only=True)
class Approval:
    """What somebody decided in the registry."""

    conf: DeploymentConf
    package_arn: str
    decided_at: str
    """UTC, ISO 8601: when the registry says that the package was changed last."""
    words: str
    """Who approved and why, in one line for people."""


def register(  # pylint: disable=too-many-arguments
    conf: TrainingConf,
    comparison: Comparison,
    *,
    artifact: str,
    fingerprint: str,
    run_id: str,
    storage: Storage,
    sagemaker: SageMakerClient,
) -> str | None:
    """Register an evaluated version and return its ARN; None for a merge request's, which is never deployed.

    Safe to repeat. A package of this version with another artifact is of a training that was done again: it
    describes a model that is gone, so it goes too.

    Raises:
        StorageError: when deployment.json cannot be written.
        SettingsError: when Terraform has made no group for this model.
    """
    if ModelVersion.parse(conf.model_version).image.prerelease or of_merge_request(conf.origin):
        return None
    group, description = (
        endpoint_name(conf.project, conf.model),
        package_description(conf.model, conf.model_version),
    )
    metadata = {
        MODEL_VERSION: conf.model_version,
        EVIDENCE_URI: conf.evidence_uri,
        COMMIT: conf.origin.commit_sha,
        TRAINING_RUN: run_id,
        **_keep_deployment(conf, storage),
    }
    arn = _registered(sagemaker, group, description, artifact)
    if not arn:
        request = model_package(
            conf,
            artifact=artifact,
            fingerprint=fingerprint,
            approval="PendingManualApproval" if comparison.gate == "passed" else "Rejected",
            metadata=metadata,
        )
        arn = sagemaker.create_model_package(**request)["ModelPackageArn"]
    if comparison.gate != "passed":
        _reject(sagemaker, arn, "gate failed: " + "; ".join(comparison.reasons()))
    return arn


def _registered(sagemaker: SageMakerClient, group: str, description: str, artifact: str) -> str:
    """The package of this version with this artifact, or nothing; those with another are removed."""
    arn = ""
    try:
        for found in list(model_packages.find(sagemaker, group, description)):
            package = model_packages.describe(sagemaker, found)
            if package is not None and package.artifact == artifact:
                arn = found
            elif package is not None:
                sagemaker.delete_model_package(ModelPackageName=found)
    except model_packages.NoGroupError as error:
        raise SettingsError(
            f"SageMaker has no model package group {group}",
            cause="the version is trained and evaluated, but cannot be registered",
            next_step="List the model in terraform/root/models.auto.tfvars, apply, then clear the task "
            "register_package of this run in Airflow.",
        ) from error
    return arn


def _keep_deployment(conf: TrainingConf, storage: Storage) -> dict[str, str]:
    if conf.deployment is None:
        return {}
    text = dumps(
        DeploymentConf(
            schema_version=SCHEMA_VERSION,
            project=conf.project,
            model=conf.model,
            model_version=conf.model_version,
            evidence_uri=conf.evidence_uri,
            deployment=conf.deployment,
            notifications=conf.notifications,
            origin=conf.origin,
        )
    ).encode()
    uri = conf.evidence_uri + DEPLOYMENT
    storage.write(text, uri, "application/json")
    return {DEPLOYMENT_URI: uri, DEPLOYMENT_SHA256: hashlib.sha256(text).hexdigest()}


def resolve(
    conf: ApprovalConf,
    storage: Storage,
    settings: PlatformSettings,
    sagemaker: SageMakerClient,
    *,
    whatever_state: bool = False,
) -> Approval:
    """What an approval asks to be deployed; with `whatever_state`, also one that was taken back.

    Raises:
        NothingToDeploy: when the version is approved no longer, or the platform approved it itself.
        ContractError: when the package is not one of this model's, or not one that the platform registered,
            or the event is of a time to come.
        DeploymentRefusedError: when nobody said how to deploy it.
        StorageError: when its deployment.json is gone.
    """
    group = endpoint_name(conf.project, conf.model)
    if is_to_come(moment(conf.occurrence.time)):
        raise ContractError(
            "conf.occurrence.time lies in the future",
            cause=f"found {conf.occurrence.time}: no event of AWS has such a time",
            next_step="Look who called the Lambda, in CloudTrail; then approve the version anew.",
        )
    package = model_packages.describe(sagemaker, conf.package_arn)
    if package is None:
        raise NothingToDeploy(f"There is no model package {conf.package_arn} any more.")
    if package.group != group:
        raise ContractError(
            "conf.package_arn is another model's", cause=f"found {package.group}, allowed is {group}"
        )
    if package.status != "Approved" and not whatever_state:
        raise NothingToDeploy(f"{package.description} is {package.status} by now.")
    # Not the event's time: it comes from outside, and would let an old approval pass for a new one.
    decided_at = min(package.changed_at, datetime.now(UTC)).astimezone(UTC)
    if _is_own(package.metadata, decided_at) and not whatever_state:
        raise NothingToDeploy(f"The platform approved {package.description} itself, having deployed it.")
    version = ModelVersion.parse(package.metadata.get(MODEL_VERSION, ""))
    uri, sha256 = package.metadata.get(DEPLOYMENT_URI, ""), package.metadata.get(DEPLOYMENT_SHA256, "")
    if not uri:
        raise DeploymentRefusedError(
            f"{conf.model} {version} cannot be deployed by an approval",
            cause="it was trained without saying how its endpoint is to be",
            next_step="Run the job deploy of its pipeline, or train again with the current ci-templates.",
        )
    expected = evidence_uri(settings.bucket, conf.project, conf.model, version) + DEPLOYMENT
    if uri != expected or package.description != package_description(conf.model, str(version)):
        raise ContractError(
            f"The model package {conf.package_arn} was changed",
            cause=f"it is called {package.description!r}, and is to be deployed as {uri} says; "
            f"allowed is {expected}",
            next_step="Run the job deploy of its pipeline, and look who may update model packages.",
        )
    asked = read_conf(DEPLOYMENT_DAG, conf_pointer(uri, sha256), storage, settings)
    if not isinstance(asked, DeploymentConf) or asked.override is not None:
        raise ContractError(f"{uri} is not what a training leaves there")
    who = package.decided_by or "somebody"
    words = f"Approved in the model registry by {who}"
    return Approval(
        conf=replace(asked, origin=replace(asked.origin, user=package.decided_by or asked.origin.user)),
        package_arn=package.arn,
        decided_at=decided_at.isoformat(timespec="milliseconds"),
        words=f"{words}: {package.reason}" if package.reason else words,
    )


def refused(approval: Approval, objections: list[str], sagemaker: SageMakerClient) -> None:
    """Take an approval back that the evidence speaks against, so that the registry does not say otherwise."""
    _reject(sagemaker, approval.package_arn, "not deployed: " + "; ".join(objections))


def deployed(conf: DeploymentConf, run_id: str, sagemaker: SageMakerClient) -> None:
    """Approve the version that was deployed by the job, so that the registry says what is in production.

    Nothing is done for one that is approved, and a deployment does not fail because of its registry.
    """
    log = logging.getLogger(__name__)
    try:
        with explained():
            _approve(conf, run_id, sagemaker)
    except (MlopsError, model_packages.NoGroupError) as error:
        log.error("The model registry does not say that %s is deployed: %s", conf.model_version, error)


def _approve(conf: DeploymentConf, run_id: str, sagemaker: SageMakerClient) -> None:
    group = endpoint_name(conf.project, conf.model)
    description = package_description(conf.model, conf.model_version)
    arn = next(model_packages.find(sagemaker, group, description), None)
    package = model_packages.describe(sagemaker, arn) if arn else None
    if package is None:
        logging.getLogger(__name__).warning(
            "%s has no package of %s: nothing to approve", group, conf.model_version
        )
    elif package.status != "Approved":
        reason = f"deployed by {conf.origin.user or 'a pipeline'}, run {run_id}"
        if conf.override is not None:
            reason += f", override: {conf.override.reason}"
        now = datetime.now(UTC).isoformat(timespec="seconds")
        model_packages.decide(
            sagemaker, package.arn, "Approved", reason, {DEPLOYED_AT: now, DEPLOYMENT_RUN: run_id}
        )


def moment(text: str) -> datetime:
    """A time in UTC.

    Raises:
        ContractError: when it is none.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ContractError(f"{text!r} is not a time in ISO 8601") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _is_own(metadata: Mapping[str, str], decided_at: datetime) -> bool:
    at = metadata.get(DEPLOYED_AT)
    return at is not None and abs(decided_at - moment(at)) <= _OWN


def _reject(sagemaker: SageMakerClient, arn: str, reason: str) -> None:
    model_packages.decide(sagemaker, arn, "Rejected", reason)
