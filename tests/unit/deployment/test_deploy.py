from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest

from mlops.base.errors import DeploymentRefusedError, RunFailedError, RunTimeoutError
from mlops.base.result import Outcome
from mlops.base.strict_json import encode
from mlops.contracts.evidence import COMPARISON, FAILURE, LINEAGE, OVERRIDE, Comparison, Failure, Lineage
from mlops.contracts.runs import DEPLOYMENT_DAG, ApprovalConf, DeploymentConf, Occurrence, Origin
from mlops.contracts.versions import ModelVersion
from mlops.deployment import approval
from mlops.deployment.deploy import DeployOptions, deploy, request
from mlops.deployment.tasks import DeploymentPlan, prepare
from mlops.manifest.reader import Model
from mlops.training import request as training_request
from tests.unit.world import BUCKET, SETTINGS, World, dotenv_of, pipeline

OLD, NEW, OTHER = "1.2.0+retrain.0", "1.3.0+retrain.0", "1.2.5+retrain.0"
Deploy = Callable[..., Outcome]


@pytest.fixture
def put(world: World, model: Model, tmp_path: Path) -> Deploy:
    """The job deploy; Airflow, when it succeeds, serves what it was asked to."""
    world.airflow.finish = lambda conf: world.serve(conf.model_version)

    def put(
        version: str = NEW, reason: str = "", wait: bool = True, timeout: float = 1800, number: str = "12"
    ) -> Outcome:
        origin = pipeline(number=number)
        conf = request(model, ModelVersion.parse(version), BUCKET, reason, origin)
        options = DeployOptions(dotenv=tmp_path / "deploy.env", wait=wait, timeout=timeout)
        return deploy(conf, origin, options, world.platform)

    return put


def test_the_first_model_is_deployed(world: World, put: Deploy, tmp_path: Path) -> None:
    evidence = world.model(NEW)
    outcome = put()
    ((run_id, conf),) = world.airflow.confs.items()
    assert isinstance(conf, DeploymentConf)
    assert (conf.model_version, conf.evidence_uri, conf.override) == (NEW, evidence, None)
    assert conf.deployment.smoke_test.body == '{"url": "https://example.com"}'
    assert outcome.summary.startswith(f"✓ phishing-url {NEW} is in production")
    assert "web-safety--phishing-url" in outcome.next_steps[0]
    assert dotenv_of(tmp_path / "deploy.env") == {
        "ENDPOINT_NAME": "web-safety--phishing-url",
        "DEPLOYED_MODEL_VERSION": NEW,
        "DEPLOYMENT_RUN_ID": run_id,
    }


def test_a_better_model_replaces_the_champion(world: World, put: Deploy) -> None:
    world.model(OLD)
    world.serve(OLD)
    world.model(NEW, champion=OLD)
    assert put().exit_code == 0


def test_what_is_in_production_already_starts_no_run(world: World, put: Deploy, tmp_path: Path) -> None:
    world.model(NEW)
    world.serve(NEW)
    assert put().summary == f"phishing-url {NEW} is in production already: nothing to deploy"
    assert not world.airflow.runs
    assert dotenv_of(tmp_path / "deploy.env")["DEPLOYED_MODEL_VERSION"] == NEW


def test_other_settings_of_the_same_version_are_deployed(world: World, put: Deploy) -> None:
    world.model(NEW)
    world.serve(NEW, InitialInstanceCount=3)
    put()
    assert len(world.airflow.runs) == 1


def refused(put: Deploy, world: World, **how: Any) -> DeploymentRefusedError:
    with pytest.raises(
        DeploymentRefusedError, match=re.escape(f"phishing-url {NEW} may not be deployed")
    ) as caught:
        put(**how)
    assert not world.airflow.runs
    return caught.value


@pytest.mark.parametrize("missing", [COMPARISON, LINEAGE])
def test_without_evidence_nothing_is_deployed(world: World, put: Deploy, missing: str) -> None:
    evidence = world.model(NEW)
    world.storage.delete(evidence + missing)
    assert f"{evidence}{missing} does not exist" in refused(put, world).cause


def test_broken_evidence_is_no_evidence(world: World, put: Deploy) -> None:
    evidence = world.model(NEW)
    world.storage.write(b"{}", evidence + COMPARISON)
    assert "there is no evidence" in refused(put, world).cause


@pytest.mark.parametrize("name", [COMPARISON, LINEAGE])
def test_evidence_of_another_model_is_none(world: World, put: Deploy, name: str) -> None:
    evidence = world.model(NEW)
    document = json.loads(world.storage.read(evidence + name))
    world.storage.write(json.dumps(document | {"model": "other"}).encode(), evidence + name)
    assert refused(put, world).cause == f"{name} is about web-safety other {NEW}"


def test_a_failed_gate_is_refused_with_its_reasons(world: World, put: Deploy) -> None:
    world.model(NEW, gate="failed")
    error = refused(put, world)
    assert "f1: 0.8 is below the minimum 0.9" in error.cause
    assert "MLOPS_OVERRIDE" in error.next_step


def test_a_champion_that_changed_since_is_refused(world: World, put: Deploy) -> None:
    world.model(OTHER)
    world.serve(OTHER)
    world.model(NEW, champion=OLD)
    assert f"compared with {OLD}, in production is {OTHER}" in refused(put, world).cause


def test_a_model_that_was_never_trained_is_refused_even_with_an_override(world: World, put: Deploy) -> None:
    assert (
        "no SageMaker model web-safety--phishing-url--1-3-0--r0" in refused(put, world, reason="please").cause
    )


def test_an_image_that_is_gone_is_refused_even_with_an_override(world: World, put: Deploy) -> None:
    world.model(NEW)
    world.ecr.batch_delete_image(repositoryName="web-safety/phishing-url", imageIds=[{"imageTag": "1.3.0"}])
    assert "no longer in the registry" in refused(put, world, reason="please").cause


def test_an_override_is_said_and_recorded_with_the_person(
    world: World, put: Deploy, capsys: pytest.CaptureFixture[str]
) -> None:
    world.model(NEW, gate="failed")
    outcome = put(reason="hotfix, agreed with Bob")
    (conf,) = world.airflow.confs.values()
    assert isinstance(conf, DeploymentConf)
    assert conf.override is not None
    assert (conf.override.reason, conf.override.user) == ("hotfix, agreed with Bob", "ann")
    assert outcome.data["override"] == {"reason": "hotfix, agreed with Bob", "user": "ann"}
    said = capsys.readouterr().err
    assert "! Override by ann: hotfix, agreed with Bob" in said
    assert "! in spite of: gate failed: f1: 0.8 is below the minimum 0.9" in said


def test_a_retried_job_joins_its_run(world: World, put: Deploy, tmp_path: Path) -> None:
    world.model(NEW)
    world.airflow.course = ["running"] * 60 + ["success"]
    with pytest.raises(RunTimeoutError, match=DEPLOYMENT_DAG):
        put(timeout=5)
    half_way = dotenv_of(tmp_path / "deploy.env")
    assert half_way["DEPLOYED_MODEL_VERSION"] == ""
    put()
    assert len(world.airflow.runs) == 1
    assert half_way["DEPLOYMENT_RUN_ID"] in world.airflow.runs


def test_no_wait_returns_at_once(world: World, put: Deploy) -> None:
    world.model(NEW)
    outcome = put(wait=False)
    assert (outcome.data["state"], world.seconds) == ("queued", 0)


def test_a_failed_deployment_gives_the_real_cause_and_a_retry_starts_anew(
    world: World, put: Deploy, tmp_path: Path
) -> None:
    evidence = world.model(NEW)
    world.airflow.course = ["running", "failed", "running", "success"]
    with pytest.raises(RunFailedError, match=re.escape(f"Deployment of phishing-url {NEW} failed at work")):
        put()
    (run_id,) = world.airflow.runs
    failure = Failure(
        schema_version=1,
        project="web-safety",
        model="phishing-url",
        model_version=NEW,
        dag_id=DEPLOYMENT_DAG,
        run_id=run_id,
        task_id="confirm",
        cause="the container did not answer /ping",
        log_url="https://logs.example/1",
        next_step="Read the container's log.",
    )
    world.storage.write_record(failure, evidence + FAILURE)
    world.airflow.runs[run_id] = "running"
    world.airflow.course.insert(0, "failed")
    with pytest.raises(RunFailedError, match="failed at confirm") as caught:
        put()
    assert (caught.value.cause, caught.value.link) == (failure.cause, failure.log_url)
    assert dotenv_of(tmp_path / "deploy.env")["DEPLOYED_MODEL_VERSION"] == ""
    put()
    assert len(world.airflow.runs) == 2


def test_going_back_to_a_version_that_was_deployed_before_is_a_new_run(world: World, put: Deploy) -> None:
    world.airflow.course = ["running", "success"] * 3
    world.model(OLD)
    put(OLD)
    world.model(NEW, champion=OLD)
    put(NEW)
    put(OLD, reason="roll back")
    put(OLD, reason="roll back")
    assert len(world.airflow.runs) == 3


def test_another_pipeline_has_runs_of_its_own(world: World, put: Deploy) -> None:
    world.airflow.course = ["running", "failed"] * 2
    world.model(NEW)
    for number in ("12", "13"):
        with pytest.raises(RunFailedError):
            put(number=number)
    first, second = world.airflow.runs
    assert first.endswith(".1")
    assert second.endswith(".1")


# -- what nobody has merged ----------------------------------------------------------------------------------

UNMERGED = Origin(pipeline_source="merge_request_event")
CANDIDATE = "1.3.0-mr4.2+retrain.0"
GROUP = "web-safety--phishing-url"


def trained_by_merge_request(world: World, version: str) -> None:
    """As an earlier release of the platform let it, where the version is a release's."""
    evidence = world.model(version)
    lineage = world.storage.read_record(Lineage, evidence + LINEAGE)
    world.storage.write_record(replace(lineage, origin=UNMERGED), evidence + LINEAGE)


def validated(world: World, conf: DeploymentConf | ApprovalConf) -> DeploymentPlan:
    """What the DAG's first task makes of it."""
    ssm = boto3.client("ssm", "eu-west-1", aws_access_key_id="test", aws_secret_access_key="test")
    ssm.put_parameter(Name="/ml-ops/settings", Type="String", Value=json.dumps(SETTINGS), Overwrite=True)
    return prepare(
        encode(conf), "run", "2026-01-02T03:04:05Z", ssm=ssm, storage=world.storage, sagemaker=world.sagemaker
    )


@pytest.mark.parametrize("reason", ["", "agreed with Bob"])
@pytest.mark.parametrize(
    ("version", "why"),
    [(CANDIDATE, "it is a merge request's pre-release"), (NEW, "a merge request trained it")],
)
def test_a_merge_requests_work_is_not_deployed_even_with_an_override(
    world: World, put: Deploy, model: Model, version: str, why: str, reason: str
) -> None:
    trained_by_merge_request(world, version)
    conf = request(model, ModelVersion.parse(version), BUCKET, reason, pipeline())
    for attempt in (lambda: put(version, reason), lambda: validated(world, conf)):
        with pytest.raises(DeploymentRefusedError, match="may not be deployed") as caught:
            attempt()
        assert caught.value.cause.startswith(why)
        assert "default branch" in caught.value.next_step
    assert not world.airflow.runs
    assert not world.storage.exists(conf.evidence_uri + OVERRIDE)


def test_a_merge_request_deploys_no_release_either(world: World, model: Model) -> None:
    world.model(NEW)
    conf = request(model, ModelVersion.parse(NEW), BUCKET, "", pipeline())
    assert validated(world, conf).conf == conf
    with pytest.raises(DeploymentRefusedError) as caught:
        validated(world, replace(conf, origin=UNMERGED))
    assert caught.value.cause.startswith("a merge request asks for it")


class Registry:
    """Moto's SageMaker, which forgets a package's metadata."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._metadata: dict[str, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def create_model_package(self, **wanted: Any) -> Any:
        self._metadata = wanted["CustomerMetadataProperties"]
        return self._client.create_model_package(**wanted)

    def describe_model_package(self, **wanted: Any) -> Any:
        return self._client.describe_model_package(**wanted) | {"CustomerMetadataProperties": self._metadata}


def test_an_approval_of_what_a_merge_request_trained_is_refused_and_taken_back(
    world: World, model: Model
) -> None:
    world.sagemaker = Registry(world.sagemaker)
    trained_by_merge_request(world, NEW)
    version = ModelVersion.parse(NEW)
    asked = training_request.of_manifest(model, world.image("1.3.0"), version, BUCKET, Origin())
    evidence = asked.evidence_uri
    world.sagemaker.create_model_package_group(ModelPackageGroupName=GROUP)
    arn = approval.register(
        asked,
        world.storage.read_record(Comparison, evidence + COMPARISON),
        artifact=world.storage.read_record(Lineage, evidence + LINEAGE).model_artifact,
        fingerprint="0" * 64,
        run_id="run",
        storage=world.storage,
        sagemaker=world.sagemaker,
    )
    world.sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    occurrence = Occurrence(
        id="e", source="aws.sagemaker", detail_type="d", time=datetime.now(UTC).isoformat(timespec="seconds")
    )
    approved = ApprovalConf(
        schema_version=1,
        project=model.project,
        model=model.name,
        package_arn=str(arn),
        occurrence=occurrence,
    )
    with pytest.raises(DeploymentRefusedError) as caught:
        validated(world, approved)
    assert caught.value.cause.startswith("a merge request trained it")
    package = world.sagemaker.describe_model_package(ModelPackageName=arn)
    assert package["ModelApprovalStatus"] == "Rejected"
    assert package["ApprovalDescription"].startswith("not deployed: a merge request trained it")
