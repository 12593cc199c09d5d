"""`mlops deploy`: put an evaluated model into production, if the evidence allows it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.base import console
from mlops.base.errors import DeploymentRefusedError
from mlops.base.result import Outcome
from mlops.base.strict_json import encode
from mlops.ci import dotenv
from mlops.ci.merged import check_merged
from mlops.clients.aws import ecr
from mlops.clients.aws.sagemaker import (
    describe_endpoint,
    describe_endpoint_config,
    describe_model,
    find_champion,
)
from mlops.clients.aws.sagemaker_requests import endpoint_config
from mlops.contracts.locations import evidence_uri
from mlops.contracts.runs import (
    DEPLOYMENT_DAG,
    SCHEMA_VERSION,
    DeploymentConf,
    Override,
    RunAnswer,
    canonical,
)
from mlops.contracts.versions import ModelVersion, resource_name
from mlops.deployment.tasks import evidence_objections
from mlops.runs import airflow_runs
from mlops.runs.platform import Platform

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from mlops.ci.pipeline import Pipeline
    from mlops.manifest.reader import Model

_SETTINGS = ("InstanceType", "InitialInstanceCount", "ContainerStartupHealthCheckTimeoutInSeconds")


@dataclass(frozen=True, kw_only=True)
class DeployOptions:
    """Where the variables go and how long to wait, in seconds."""

    dotenv: Path
    wait: bool
    timeout: float

    @classmethod
    def read(cls, arguments: argparse.Namespace, model: Model, variables: Mapping[str, str]) -> DeployOptions:
        asked = str(arguments.timeout or "")
        longest = float(model.deployment.startup_timeout)
        return cls(
            dotenv=Path(arguments.dotenv),
            wait=not arguments.no_wait,
            timeout=0 if arguments.no_wait else airflow_runs.patience(longest, asked, variables),
        )


def run(arguments: argparse.Namespace) -> Outcome:  # pylint: disable=too-many-locals  # imports count
    """Deploy a version.

    Raises:
        MlopsError: of many kinds; see `deploy`.
    """
    from mlops.ci.pipeline import Pipeline
    from mlops.manifest import reader

    pipeline = Pipeline.from_environment(os.environ)
    model = reader.load(arguments.manifest, arguments.environment).model(arguments.model)
    version = dotenv.model_version(arguments.model_version, os.environ)
    reason = (arguments.override or os.environ.get("MLOPS_OVERRIDE", "")).strip()

    from mlops.clients.aws.session import explained

    with explained():
        platform = Platform.connect()
        conf = request(model, version, platform.bucket, reason, pipeline)
        return deploy(conf, pipeline, DeployOptions.read(arguments, model, os.environ), platform)


def request(
    model: Model, version: ModelVersion, bucket: str, reason: str, pipeline: Pipeline
) -> DeploymentConf:
    """What the DAG is asked for; an override carries the name of the person who started the job."""
    from mlops.manifest import reader

    return DeploymentConf(
        schema_version=SCHEMA_VERSION,
        project=model.project,
        model=model.name,
        model_version=str(version),
        evidence_uri=evidence_uri(bucket, model.project, model.name, version),
        deployment=reader.deployment(model, bucket),
        override=Override(reason=reason, user=pipeline.origin.user) if reason else None,
        notifications=reader.notifications(model),
        origin=pipeline.origin,
    )


def deploy(conf: DeploymentConf, pipeline: Pipeline, options: DeployOptions, platform: Platform) -> Outcome:
    """Have Airflow deploy it, and wait; nothing is done when the endpoint serves exactly this.

    Raises:
        DeploymentRefusedError: when the evidence speaks against it and nobody overrode it.
        RunFailedError: with the real cause, when the deployment failed.
        RunTimeoutError: when it is not over in time; a retry of the job waits on.
        TriggerError: when Airflow does not take the run.
    """
    if serves(conf, platform.sagemaker):
        _hand_over(options.dotenv, conf, run_id="", deployed=True)
        summary = f"{conf.model} {conf.model_version} is in production already: nothing to deploy"
        return Outcome(summary=summary, data=_data(conf, run_id="", state="success"))
    check(conf, platform)

    work = _work(conf, pipeline)
    answer = airflow_runs.start_or_join(platform.runs, work, lambda: serves(conf, platform.sagemaker))
    _hand_over(options.dotenv, conf, answer.run_id, deployed=False)
    console.say(f"Deployment run {answer.run_id} {'started' if answer.created else f'is {answer.state}'}")
    if answer.run_url:
        console.say(f"Airflow run: {answer.run_url}")
    if not options.wait:
        return Outcome(
            summary=f"Deployment of {conf.model} {conf.model_version}: run {answer.run_id} is {answer.state}",
            data=_data(conf, answer.run_id, str(answer.state)),
            next_steps=("Run this job again without --no-wait: it waits for the same run.",),
        )
    answer = airflow_runs.wait(platform.runs, DEPLOYMENT_DAG, answer.run_id, options.timeout, platform.clock)
    if answer.state == "failed":
        what = f"Deployment of {conf.model} {conf.model_version}"
        raise airflow_runs.run_failed(platform.storage, conf.evidence_uri, answer, what)
    _hand_over(options.dotenv, conf, answer.run_id, deployed=True)
    return _deployed(conf, answer)


def serves(conf: DeploymentConf, sagemaker: SageMakerClient) -> bool:
    """Whether the endpoint serves this version with these settings, and is not about to change."""
    champion = find_champion(sagemaker, conf.project, conf.model)
    if champion is None or champion.version != conf.model_version:
        return False
    endpoint = describe_endpoint(sagemaker, conf.deployment.endpoint_name)
    found = describe_endpoint_config(sagemaker, champion.endpoint_config)
    if endpoint is None or endpoint["EndpointStatus"] != "InService" or found is None:
        return False
    wanted = endpoint_config(champion.name, conf.deployment, [])["ProductionVariants"][0]
    serving = found["ProductionVariants"][0]
    return all(serving.get(key) == wanted[key] for key in _SETTINGS)


def check(conf: DeploymentConf, platform: Platform) -> None:
    """Say now what the DAG would say minutes later.

    Raises:
        DeploymentRefusedError: with every objection. Without a model or its image no override helps, nor for
            what is not merged.
    """
    check_merged(conf, platform.storage)
    what = f"{conf.model} {conf.model_version} may not be deployed"
    name = resource_name(conf.project, conf.model, ModelVersion.parse(conf.model_version))
    model = describe_model(platform.sagemaker, name)
    container: Mapping[str, Any] = (model or {}).get("PrimaryContainer", {})
    image = str(container.get("Image", ""))
    if model is None:
        raise DeploymentRefusedError(
            what,
            cause=f"there is no SageMaker model {name}: it was never trained here, or it was deleted",
            next_step="Train this version first: run the pipeline's job train.",
        )
    if not ecr.image_exists(platform.ecr, image):
        raise DeploymentRefusedError(
            what,
            cause=f"its image {image} is no longer in the registry",
            next_step="Run the pipeline's job containerize again, or push a change, and train it.",
        )
    champion = find_champion(platform.sagemaker, conf.project, conf.model)
    objections = evidence_objections(conf, platform.storage, champion, container)
    if not objections:
        return
    if conf.override is None:
        raise DeploymentRefusedError(
            what,
            cause="\n".join(objections),
            next_step="Push an improved model. Or take responsibility: run this job with the variable "
            'MLOPS_OVERRIDE set to a reason, or mlops deploy --override "reason".',
        )
    console.warn(f"Override by {conf.override.user or 'somebody unknown'}: {conf.override.reason}")
    for objection in objections:
        console.warn(f"in spite of: {objection}")


def _work(conf: DeploymentConf, pipeline: Pipeline) -> airflow_runs.Work:
    identity = [DEPLOYMENT_DAG, conf.project, conf.model, conf.model_version, pipeline.pipeline_id]
    identity.append(conf.override.reason if conf.override else "")
    identity.append(canonical(encode(conf.deployment)).decode())
    return airflow_runs.Work(
        dag_id=DEPLOYMENT_DAG,
        label=f"{conf.model}-{conf.model_version}",
        identity="|".join(identity),
        conf=conf,
        spill_uri=f"{conf.evidence_uri}conf/{DEPLOYMENT_DAG}-{pipeline.pipeline_id}.json",
    )


def _hand_over(path: Path, conf: DeploymentConf, run_id: str, *, deployed: bool) -> None:
    dotenv.write(
        path,
        {
            "ENDPOINT_NAME": conf.deployment.endpoint_name,
            "DEPLOYED_MODEL_VERSION": conf.model_version if deployed else "",
            "DEPLOYMENT_RUN_ID": run_id,
        },
    )


def _deployed(conf: DeploymentConf, answer: RunAnswer) -> Outcome:
    endpoint, smoke_test = conf.deployment.endpoint_name, conf.deployment.smoke_test
    return Outcome(
        summary=f"✓ {conf.model} {conf.model_version} is in production on the endpoint {endpoint}",
        data=_data(conf, answer.run_id, "success"),
        next_steps=(
            f"aws sagemaker-runtime invoke-endpoint --endpoint-name {endpoint} "
            f"--content-type {smoke_test.content_type} --body fileb://request answer",
        ),
    )


def _data(conf: DeploymentConf, run_id: str, state: str) -> dict[str, object]:
    return {
        "endpoint_name": conf.deployment.endpoint_name,
        "model_version": conf.model_version,
        "dag_id": DEPLOYMENT_DAG,
        "dag_run_id": run_id,
        "state": state,
        "override": encode(conf.override),
    }
