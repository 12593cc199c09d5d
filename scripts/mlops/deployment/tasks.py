"""What the tasks of the DAG `model_deployment` do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops.base.errors import ContractError, DeploymentRefusedError, MlopsError, RunFailedError
from mlops.base.strict_json import loads
from mlops.ci.merged import check_merged
from mlops.clients.aws import endpoints
from mlops.clients.aws.parameter_store import read_settings
from mlops.clients.aws.sagemaker import (
    ServedModel,
    describe_endpoint,
    describe_endpoint_config,
    describe_model,
    find_champion,
)
from mlops.clients.aws.sagemaker_requests import Request, endpoint_config, holds, kept_instances, renamed
from mlops.clients.aws.session import passing
from mlops.contracts.evidence import COMPARISON, FAILURE, LINEAGE, OVERRIDE, Comparison, Lineage
from mlops.contracts.platform_settings import PlatformSettings
from mlops.contracts.runs import DEPLOYMENT_DAG, SCHEMA_VERSION, ApprovalConf, DeploymentConf, is_to_come
from mlops.contracts.versions import ModelVersion, endpoint_name, resource_name
from mlops.deployment.approval import Approval, NothingToDeploy, OvertakenApproval, moment, refused, resolve
from mlops.runs.conf import read_conf

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import TagTypeDef
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient
    from mypy_boto3_ssm import SSMClient

    from mlops.clients.aws.s3 import Storage


_CHAMPION_CHANGED = "the champion changed"
_CHANGING = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})
DECIDED_AT = "mlops:decided-at"
"""The endpoint's tag that says when somebody decided on what it serves."""


@dataclass(frozen=True, kw_only=True)
class OverrideRecord:
    """override.json: who deployed what in spite of which objections."""

    schema_version: int
    reason: str
    user: str
    objections: tuple[str, ...]
    dag_run_id: str
    pipeline_url: str
    created_at: str


@dataclass(frozen=True, kw_only=True)
class DeploymentPlan:
    """What the first task found out, for all others: it travels as XCom."""

    conf: DeploymentConf
    settings: PlatformSettings
    run_id: str
    endpoint_config: dict[str, Any]
    """CreateEndpointConfig's request."""
    config_exists: bool
    before: ServedModel | None
    """What the endpoint serves while we begin."""
    decided_at: str = ""
    """When somebody decided on this deployment; UTC, ISO 8601."""
    began_at: str = ""
    """When this was found out, just before the endpoint changes; UTC, ISO 8601."""
    approval: str = ""
    """Who approved it in the model registry and why; empty when it was started by a job."""


def is_busy(conf: Mapping[str, Any], sagemaker: SageMakerClient) -> bool:
    """Whether an approval has to wait, as the endpoint is about to change, or to go. Jobs are refused."""
    if "package_arn" not in conf:
        return False
    name = endpoint_name(str(conf.get("project")), str(conf.get("model")))
    endpoint = describe_endpoint(sagemaker, name)
    return endpoint is not None and endpoint["EndpointStatus"] in _CHANGING


def prepare(  # pylint: disable=too-many-arguments,too-many-locals
    conf: Mapping[str, Any],
    run_id: str,
    created_at: str,
    *,
    ssm: SSMClient,
    storage: Storage,
    sagemaker: SageMakerClient,
) -> DeploymentPlan:
    """Check the evidence and find or name the endpoint configuration.

    Raises:
        SettingsError, ContractError, VersionError: when the conf is not one to run.
        DeploymentRefusedError: when the evidence speaks against it, unless overridden, or there is no model;
            of a merge request's work always.
        NothingToDeploy: when it is an approval of what is in production.
        OvertakenApproval: when it is one that was decided before what is in production.
    """
    settings = read_settings(ssm)
    parsed: object = read_conf(DEPLOYMENT_DAG, conf, storage, settings)
    approval = None
    if isinstance(parsed, ApprovalConf):
        approval = resolve(parsed, storage, settings, sagemaker)
        parsed = approval.conf
    if not isinstance(parsed, DeploymentConf):
        raise ContractError("conf is not a request for a deployment")
    if parsed.deployment.endpoint_name != endpoint_name(parsed.project, parsed.model):
        raise ContractError(
            "conf.deployment.endpoint_name is another model's endpoint",
            cause=f"found {parsed.deployment.endpoint_name}, "
            f"allowed is {endpoint_name(parsed.project, parsed.model)}",
        )
    name = resource_name(parsed.project, parsed.model, ModelVersion.parse(parsed.model_version))
    model = describe_model(sagemaker, name)
    if model is None:
        raise DeploymentRefusedError(
            f"There is no SageMaker model {name}",
            cause="it was never trained here, or it was deleted",
            next_step="Train this version first: run the pipeline's job `train`.",
        )
    before = find_champion(sagemaker, parsed.project, parsed.model)
    if approval is not None:
        _check_still_wanted(approval, before, sagemaker)
    try:
        check_merged(parsed, storage)
    except DeploymentRefusedError as error:
        if approval is not None:
            refused(approval, [error.cause], sagemaker)
        raise
    objections = evidence_objections(parsed, storage, before, model["PrimaryContainer"])
    if approval is not None:
        objections = _objections_to(approval, objections, before, sagemaker)
    if objections:
        _override(parsed, objections, run_id, created_at, storage)
    storage.delete(parsed.evidence_uri + FAILURE)
    request, exists = _choose_config(sagemaker, parsed, name)
    return DeploymentPlan(
        conf=parsed,
        settings=settings,
        run_id=run_id,
        endpoint_config=request,
        config_exists=exists,
        before=before,
        decided_at=approval.decided_at if approval else created_at,
        began_at=created_at,
        approval=approval.words if approval else "",
    )


def _check_still_wanted(approval: Approval, before: ServedModel | None, sagemaker: SageMakerClient) -> None:
    """Events come twice, late and out of order.

    Raises:
        NothingToDeploy: when the version is in production.
        OvertakenApproval: when what is there was decided on later.
    """
    conf = approval.conf
    if before is None:
        return
    if before.version == conf.model_version:
        raise NothingToDeploy(f"{conf.model} {conf.model_version} is in production already.")
    endpoint = sagemaker.describe_endpoint(EndpointName=conf.deployment.endpoint_name)
    tags = sagemaker.list_tags(ResourceArn=endpoint["EndpointArn"])["Tags"]
    decided = next((tag["Value"] for tag in tags if tag["Key"] == DECIDED_AT), "")
    if _holds(decided) and moment(approval.decided_at) <= moment(decided):
        raise OvertakenApproval(
            approval,
            f"{before.version} was decided on at {decided}, after this approval of {conf.model_version} "
            f"at {approval.decided_at}. To deploy it all the same, approve it anew.",
        )


def _holds(decided: str) -> bool:
    """Whether the endpoint's tag states a time of decision; one to come must not keep every approval out."""
    try:
        return bool(decided) and not is_to_come(moment(decided))
    except ContractError:
        return False


def _objections_to(
    approval: Approval, objections: list[str], before: ServedModel | None, sagemaker: SageMakerClient
) -> list[str]:
    """What remains of the objections when a person approved the version; the registry is updated."""
    if before is not None and _is_older(approval.conf.model_version, before.version):
        # A person goes back to it: what it was compared with then does not matter now.
        objections = [one for one in objections if not one.startswith(_CHAMPION_CHANGED)]
    if objections:
        refused(approval, objections, sagemaker)
    return objections


def _is_older(version: str, than: str) -> bool:
    one, other = ModelVersion.parse(version), ModelVersion.parse(than)
    return (one.image, one.retrain) < (other.image, other.retrain)


def evidence_objections(
    conf: DeploymentConf, storage: Storage, champion: ServedModel | None, container: Mapping[str, Any]
) -> list[str]:
    """Everything the evidence says against this deployment; empty when there is nothing.

    Args:
        conf: What is to be deployed.
        storage: Where the evidence is.
        champion: What is in production now.
        container: `PrimaryContainer` of the SageMaker model.
    """
    try:
        comparison = storage.read_record(Comparison, conf.evidence_uri + COMPARISON)
        origins = storage.read_record(Lineage, conf.evidence_uri + LINEAGE)
    except MlopsError as error:
        if passing(error):  # not being able to look is not a verdict
            raise
        return [f"there is no evidence: {error.what}"]
    objections = []
    subjects = (
        (COMPARISON, comparison.project, comparison.model, comparison.challenger),
        (LINEAGE, origins.project, origins.model, origins.model_version),
    )
    for document, *subject in subjects:
        if subject != [conf.project, conf.model, conf.model_version]:
            objections.append(f"{document} is about {' '.join(subject)}")
    if comparison.gate != "passed":
        objections += [f"gate failed: {reason}" for reason in comparison.reasons()] or ["gate failed"]
    now = champion.version if champion else None
    if now not in (comparison.champion, conf.model_version):
        objections.append(
            f"{_CHAMPION_CHANGED}: compared with {comparison.champion or 'nothing'}, "
            f"in production is {now or 'nothing'}"
        )
    if (container.get("Image"), container.get("ModelDataUrl")) != (origins.image_uri, origins.model_artifact):
        objections.append("the SageMaker model is not the one that was evaluated")
    return objections


def _override(
    conf: DeploymentConf, objections: list[str], run_id: str, created_at: str, storage: Storage
) -> None:
    if conf.override is None or not conf.override.reason.strip():
        raise DeploymentRefusedError(
            f"{conf.model} {conf.model_version} may not be deployed",
            cause="\n".join(objections),
            next_step='Train and evaluate again, or take responsibility: mlops deploy --override "reason".',
        )
    record = OverrideRecord(
        schema_version=SCHEMA_VERSION,
        reason=conf.override.reason,
        user=conf.override.user,
        objections=tuple(objections),
        dag_run_id=run_id,
        pipeline_url=conf.origin.pipeline_url,
        created_at=created_at,
    )
    storage.write_record(record, conf.evidence_uri + OVERRIDE)


def _choose_config(sagemaker: SageMakerClient, conf: DeploymentConf, model_name: str) -> tuple[Request, bool]:
    """The request, and whether there is such a configuration: an equal one is taken, they never change."""
    request = endpoint_config(model_name, conf.deployment, _tags(conf))
    for candidate in (request, renamed(request)):
        found = describe_endpoint_config(sagemaker, candidate["EndpointConfigName"])
        if found is None:
            return candidate, False
        if holds(found["ProductionVariants"][0], candidate["ProductionVariants"][0]) and (
            holds(found.get("DataCaptureConfig") or {}, candidate.get("DataCaptureConfig") or {})
            and bool(found.get("DataCaptureConfig")) == bool(candidate.get("DataCaptureConfig"))
        ):
            return candidate, True
    raise ContractError(
        f"The endpoint configuration {renamed(request)['EndpointConfigName']} is not what its name says",
        next_step="Delete it: nothing but this platform may make configurations of that name.",
    )


def put_endpoint(
    plan: DeploymentPlan, sagemaker: SageMakerClient, pause: Callable[[float], None] = time.sleep
) -> bool:
    """Have the endpoint change to the plan's configuration; returns while SageMaker is at it.

    False when another run had that done before.

    Safe to repeat. An endpoint that failed to come up is deleted first: SageMaker cannot update it.

    Raises:
        DeploymentRefusedError: when somebody else is changing the endpoint or has done so, or it is broken.
    """
    try:
        return _put(plan, sagemaker, pause)
    except endpoints.EndpointTakenError:
        # Of two deployments at once SageMaker takes one; the other looks again, and sees whose turn it is.
        return _put(plan, sagemaker, pause)


def _put(plan: DeploymentPlan, sagemaker: SageMakerClient, pause: Callable[[float], None]) -> bool:
    name = plan.conf.deployment.endpoint_name
    config = plan.endpoint_config["EndpointConfigName"]
    endpoint = describe_endpoint(sagemaker, name)
    if endpoint is not None and endpoint["EndpointStatus"] == "Failed":
        endpoints.delete(sagemaker, name, pause)
        endpoint = None
    if endpoint is None:
        endpoints.create(sagemaker, name, config, _tags(plan.conf, plan.decided_at), pause)
        return True
    status = endpoint["EndpointStatus"]
    serves = endpoint["EndpointConfigName"]
    pending = endpoint.get("PendingDeploymentSummary", {}).get("EndpointConfigName", "")
    if config == (pending or serves) and status in {"InService", "Creating", "Updating"}:
        return False
    if status != "InService":
        raise DeploymentRefusedError(
            f"The endpoint {name} cannot be changed now",
            cause=f"its state is {status} {endpoint.get('FailureReason', '')}".strip(),
            next_step="Wait for the other deployment and try again."
            if status != "UpdateRollbackFailed"
            else "It serves a mix of two configurations: delete the endpoint in SageMaker and deploy again.",
        )
    if plan.before is None or serves != plan.before.endpoint_config:
        raise DeploymentRefusedError(
            f"The endpoint {name} was changed since the evidence was checked",
            cause=f"it serves {serves}, "
            f"and served {plan.before.endpoint_config if plan.before else 'nothing'} then",
            next_step="Run the job deploy again: it compares with what is in production now.",
        )
    kept = kept_instances(describe_endpoint_config(sagemaker, serves), plan.endpoint_config)
    endpoints.update(sagemaker, name, config, kept, pause)
    return True


def confirm(
    plan: DeploymentPlan,
    sagemaker: SageMakerClient,
    runtime: SageMakerRuntimeClient,
) -> str:
    """See that the endpoint serves this configuration and model, and return its answer to the smoke test.

    After an update that failed, SageMaker rolls back and reports `InService` all the same. When it is the
    smoke test that fails, production goes back to what it served before.

    Raises:
        RunFailedError: with SageMaker's reason, or what the smoke test brought.
    """
    conf = plan.conf
    name = conf.deployment.endpoint_name
    config = plan.endpoint_config["EndpointConfigName"]
    endpoint = sagemaker.describe_endpoint(EndpointName=name)
    status, serves = endpoint["EndpointStatus"], endpoint["EndpointConfigName"]
    reason = endpoint.get("FailureReason", "SageMaker gives no reason")
    pending = endpoint.get("PendingDeploymentSummary", {}).get("EndpointConfigName", config)
    was = plan.before.endpoint_config if plan.before else ""
    if pending != config or (status == "InService" and serves not in (config, was)):
        raise RunFailedError(
            f"The endpoint {name} was taken over by another deployment before this one was confirmed",
            cause=f"it is {status} with {pending if pending != config else serves}",
            next_step="Look at that deployment; deploy this version again if it is the one that is wanted.",
        )
    if status == "InService" and serves != config:
        raise RunFailedError(
            f"The endpoint {name} was rolled back and serves {serves} again",
            cause=reason,
            next_step="Production is unharmed. Read the endpoint's log, correct the model and deploy again.",
        )
    if status != "InService":
        raise RunFailedError(
            f"The endpoint {name} is {status}",
            cause=reason,
            next_step="It may serve a mix of two configurations: delete it in SageMaker and deploy again."
            if status == "UpdateRollbackFailed"
            else "Read its log, correct the model and deploy again: a failed endpoint is replaced.",
        )
    try:
        answer = smoke_test(conf, runtime)
    except RunFailedError as error:
        raise RunFailedError(
            error.what, cause=error.cause, next_step=f"{_restore(plan, sagemaker)} {error.next_step}"
        ) from error
    # UpdateEndpoint takes no tags, and the version's tag has changed.
    sagemaker.add_tags(ResourceArn=endpoint["EndpointArn"], Tags=_tags(conf, plan.decided_at))
    return answer


def smoke_test(conf: DeploymentConf, runtime: SageMakerRuntimeClient) -> str:
    """Ask the endpoint once, as mlops.yml says.

    When it could not be asked, the SDK's error passes through: that is not a verdict on the model.

    Raises:
        RunFailedError: when it does not answer with HTTP 200 and this model's version.
    """
    test = conf.deployment.smoke_test
    advice = "Check deployment.smoke_test in mlops.yml and the model's `serve`."
    try:
        text = endpoints.invoke(runtime, conf.deployment.endpoint_name, test.content_type, test.body)
    except endpoints.NoAnswerError as error:
        raise RunFailedError("The smoke test failed", cause=str(error)[:2000], next_step=advice) from error
    try:
        version = loads(dict[str, Any], text, "the answer").get("model", {}).get("version")
    except (MlopsError, AttributeError) as error:
        raise RunFailedError(
            "The smoke test's answer is not a JSON object with a `model`", cause=text[:500], next_step=advice
        ) from error
    if version != conf.model_version:
        raise RunFailedError(
            "The smoke test was answered by another model",
            cause=f"its answer says version {version!r}, deployed was {conf.model_version}",
            next_step="Have `serve` answer with $MLOPS_MODEL_VERSION, and deploy again.",
        )
    return text


def _restore(plan: DeploymentPlan, sagemaker: SageMakerClient) -> str:
    """Begin to bring back what was there before, and say so."""
    name = plan.conf.deployment.endpoint_name
    if plan.before is None:
        sagemaker.delete_endpoint(EndpointName=name)
        return "The new endpoint was deleted again."
    if plan.before.endpoint_config == plan.endpoint_config["EndpointConfigName"]:
        return "The endpoint still serves this configuration, as it did before."
    before = describe_endpoint_config(sagemaker, plan.before.endpoint_config)
    now = describe_endpoint_config(sagemaker, plan.endpoint_config["EndpointConfigName"])
    kept = kept_instances(now, before) if before else {}
    sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=plan.before.endpoint_config, **kept)
    return f"The endpoint goes back to {plan.before.version}."


def _tags(conf: DeploymentConf, decided_at: str = "") -> list[TagTypeDef]:
    values = {
        "mlops:project": conf.project,
        "mlops:model": conf.model,
        "mlops:model-version": conf.model_version,
        "mlops:evidence-uri": conf.evidence_uri,
        **({DECIDED_AT: decided_at} if decided_at else {}),
    }
    return [{"Key": key, "Value": value[:256]} for key, value in values.items()]
