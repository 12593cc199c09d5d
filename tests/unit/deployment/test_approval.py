"""What the model registry is told, and what an approval in it asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from mlops.base.errors import ContractError, DeploymentRefusedError, SettingsError, StorageError
from mlops.base.strict_json import dumps
from mlops.clients.aws.s3 import Storage
from mlops.contracts.evidence import DEPLOYMENT, Comparison, MetricComparison
from mlops.contracts.platform_settings import PlatformSettings
from mlops.contracts.runs import (
    DEPLOYMENT_DAG,
    ApprovalConf,
    DeploymentConf,
    Occurrence,
    Override,
    TrainingConf,
    conf_pointer,
)
from mlops.deployment import approval
from mlops.deployment.approval import NothingToDeploy
from mlops.runs.conf import read_conf

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

GROUP = "web-safety--phishing-url"
ARN = f"arn:aws:sagemaker:eu-west-1:123456789012:model-package/{GROUP}"
ARTIFACT = "s3://ml-ops-test/web-safety/phishing-url/1.3.0_retrain.0/model/j/output/model.tar.gz"
DECIDED = datetime(2026, 1, 2, 3, 59, 58, 250000, tzinfo=UTC)
SETTINGS = PlatformSettings(
    environment="test",
    region="eu-west-1",
    bucket="ml-ops-test",
    execution_role_arn="arn:aws:iam::123456789012:role/x",
    topic_arn="arn:aws:sns:eu-west-1:123456789012:t",
    trigger_function="f",
    airflow_environment="a",
    slack_secret="s",
)


@dataclass
class FakeRegistry:
    """SageMaker's model packages of one group, two a page."""

    packages: dict[str, dict[str, Any]] = field(default_factory=dict)
    there: bool = True
    made: int = 0

    def list_model_packages(self, **wanted: Any) -> dict[str, Any]:
        if not self.there:
            raise _error("ValidationException", f"ModelPackageGroup {GROUP} does not exist.", "List")
        start = int(wanted.get("NextToken", 0))
        every = list(reversed(self.packages.values()))
        page: dict[str, Any] = {"ModelPackageSummaryList": every[start : start + 2]}
        return page | ({"NextToken": str(start + 2)} if every[start + 2 :] else {})

    def describe_model_package(self, **wanted: str) -> dict[str, Any]:
        arn = wanted["ModelPackageName"]
        if arn not in self.packages:
            raise _error("ValidationException", f"ModelPackage {arn} does not exist.", "Describe")
        return self.packages[arn]

    def create_model_package(self, **wanted: Any) -> dict[str, Any]:
        self.made += 1
        arn = f"{ARN}/{self.made}"
        self.packages[arn] = wanted | {"ModelPackageArn": arn, "CreationTime": datetime.now(UTC)}
        return {"ModelPackageArn": arn}

    def update_model_package(self, **changes: Any) -> None:
        package = self.packages[changes.pop("ModelPackageArn")]
        metadata = package["CustomerMetadataProperties"] | changes.pop("CustomerMetadataProperties", {})
        package.update(changes, CustomerMetadataProperties=metadata, LastModifiedTime=datetime.now(UTC))

    def delete_model_package(self, **wanted: str) -> None:
        del self.packages[wanted["ModelPackageName"]]

    @property
    def client(self) -> SageMakerClient:
        return cast("SageMakerClient", self)

    @property
    def only(self) -> dict[str, Any]:
        [package] = self.packages.values()
        return package


def _error(code: str, message: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        s3 = boto3.client("s3", region_name="eu-west-1")
        place: Any = {"LocationConstraint": "eu-west-1"}
        s3.create_bucket(Bucket="ml-ops-test", CreateBucketConfiguration=place)
        yield Storage(s3)


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
def released(training: TrainingConf, deployment: DeploymentConf) -> TrainingConf:
    return replace(training, deployment=deployment.deployment)


def judged(gate: Any = "passed") -> Comparison:
    line = MetricComparison(
        name="f1",
        goal="maximize",
        challenger=0.5,
        champion=None,
        change=None,
        gate=gate,
        reason="" if gate == "passed" else "0.5 is below 0.8",
    )
    return Comparison(
        schema_version=1,
        project="web-safety",
        model="phishing-url",
        challenger="1.3.0+retrain.0",
        champion=None,
        gate=gate,
        metrics=(line,),
        evaluated_on="s3://ml-ops-test/data/",
        created_at="2026-01-02T03:04:05+00:00",
    )


def register(
    conf: TrainingConf,
    storage: Storage,
    registry: FakeRegistry,
    comparison: Comparison | None = None,
    artifact: str = ARTIFACT,
) -> str | None:
    return approval.register(
        conf,
        comparison or judged(),
        artifact=artifact,
        fingerprint="f" * 64,
        run_id="run.1",
        storage=storage,
        sagemaker=registry.client,
    )


def asked(arn: str | None, time: str = "2026-01-02T04:00:00Z") -> ApprovalConf:
    return ApprovalConf(
        schema_version=1,
        project="web-safety",
        model="phishing-url",
        package_arn=str(arn),
        occurrence=Occurrence(id="e", source="aws.sagemaker", detail_type="d", time=time),
    )


def approved(registry: FakeRegistry, arn: str | None, **more: Any) -> None:
    registry.packages[str(arn)].update(
        ModelApprovalStatus="Approved",
        ApprovalDescription="looks good",
        LastModifiedBy={"IamIdentity": {"Arn": "arn:aws:sts::1:assumed-role/approver/ann@example.com"}},
        LastModifiedTime=DECIDED,
        **more,
    )


def test_a_repeated_task_finds_its_package(
    released: TrainingConf, storage: Storage, registry: FakeRegistry
) -> None:
    for number in range(5):  # so that there is more than one page
        registry.create_model_package(ModelPackageDescription=f"phishing-url 1.{number}.0+retrain.0")
    registry.packages = {arn: one for arn, one in registry.packages.items() if "1.3.0" not in str(one)}
    arn = register(released, storage, registry)
    assert register(released, storage, registry) == arn
    assert len(registry.packages) == 5


def test_a_version_that_was_trained_again_replaces_its_package(
    released: TrainingConf, storage: Storage, registry: FakeRegistry
) -> None:
    register(released, storage, registry, artifact="s3://ml-ops-test/old/model.tar.gz")
    arn = register(released, storage, registry)
    assert list(registry.packages) == [arn]
    assert registry.only["InferenceSpecification"]["Containers"][0]["ModelDataUrl"] == ARTIFACT


def test_a_failed_gate_is_a_rejection_with_its_reasons_in_one_line(
    released: TrainingConf, storage: Storage, registry: FakeRegistry
) -> None:
    register(released, storage, registry, judged("failed"))
    assert registry.only["ModelApprovalStatus"] == "Rejected"
    assert registry.only["ApprovalDescription"] == "gate failed: f1: 0.5 is below 0.8"


def test_a_group_that_terraform_has_not_made_is_named(
    released: TrainingConf, storage: Storage, registry: FakeRegistry
) -> None:
    registry.there = False
    with pytest.raises(SettingsError) as caught:
        register(released, storage, registry)
    assert GROUP in caught.value.what
    assert "models.auto.tfvars" in caught.value.next_step


def test_a_merge_request_s_version_stays_out(
    released: TrainingConf, storage: Storage, registry: FakeRegistry
) -> None:
    conf = replace(released, model_version="1.3.0-mr4.2+retrain.0", image_version="1.3.0-mr4.2")
    assert register(conf, storage, registry) is None
    origin = replace(released.origin, pipeline_source="merge_request_event")
    assert register(replace(released, origin=origin), storage, registry) is None
    assert registry.packages == {}


def test_an_approval_asks_for_what_the_training_left(
    released: TrainingConf, deployment: DeploymentConf, storage: Storage, registry: FakeRegistry
) -> None:
    arn = register(released, storage, registry)
    approved(registry, arn)
    found = approval.resolve(asked(arn), storage, SETTINGS, registry.client)
    assert found.conf == replace(deployment, origin=replace(deployment.origin, user="ann@example.com"))
    assert found.words == "Approved in the model registry by ann@example.com: looks good"
    assert found.decided_at == "2026-01-02T03:59:58.250+00:00"


def test_when_it_was_decided_says_the_registry_and_not_the_event(
    released: TrainingConf, storage: Storage, registry: FakeRegistry
) -> None:
    arn = register(released, storage, registry)
    approved(registry, arn)
    for time in ("2020-01-01T00:00:00Z", datetime.now(UTC).isoformat()):
        found = approval.resolve(asked(arn, time), storage, SETTINGS, registry.client)
        assert approval.moment(found.decided_at) == DECIDED
    with pytest.raises(ContractError, match="lies in the future"):
        approval.resolve(asked(arn, "2999-01-01T00:00:00Z"), storage, SETTINGS, registry.client)
    # a worker whose clock is behind
    registry.only["LastModifiedTime"] = datetime.now(UTC) + timedelta(days=1)
    found = approval.resolve(asked(arn), storage, SETTINGS, registry.client)
    assert approval.moment(found.decided_at) <= datetime.now(UTC)


@pytest.mark.parametrize("state", ["Rejected", "PendingManualApproval"])
def test_an_approval_taken_back_asks_for_nothing(
    released: TrainingConf, storage: Storage, registry: FakeRegistry, state: str
) -> None:
    arn = register(released, storage, registry)
    registry.only["ModelApprovalStatus"] = state
    with pytest.raises(NothingToDeploy, match=state):
        approval.resolve(asked(arn), storage, SETTINGS, registry.client)
    told = approval.resolve(asked(arn), storage, SETTINGS, registry.client, whatever_state=True)
    assert told.conf.model_version == "1.3.0+retrain.0"


def test_a_package_that_is_gone_asks_for_nothing(storage: Storage, registry: FakeRegistry) -> None:
    with pytest.raises(NothingToDeploy, match="any more"):
        approval.resolve(asked(f"{ARN}/7"), storage, SETTINGS, registry.client)


def test_what_a_job_deployed_is_approved_once_and_that_asks_for_nothing(
    released: TrainingConf, deployment: DeploymentConf, storage: Storage, registry: FakeRegistry
) -> None:
    arn = register(released, storage, registry, judged("failed"))
    conf = replace(deployment, override=Override(reason="agreed with Bob", user="ann"))
    approval.deployed(conf, "run.2", registry.client)
    assert registry.only["ModelApprovalStatus"] == "Approved"
    assert registry.only["ApprovalDescription"] == "deployed by ann, run run.2, override: agreed with Bob"
    with pytest.raises(NothingToDeploy, match="itself"):
        approval.resolve(asked(arn), storage, SETTINGS, registry.client)
    # long after, it is a person's decision
    earlier = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    registry.only["CustomerMetadataProperties"][approval.DEPLOYED_AT] = earlier
    assert approval.resolve(asked(arn), storage, SETTINGS, registry.client)
    approval.deployed(replace(conf, override=None), "run.3", registry.client)
    assert registry.only["ApprovalDescription"].endswith("agreed with Bob")


def test_a_registry_that_fails_fails_no_deployment(
    deployment: DeploymentConf, registry: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    approval.deployed(deployment, "run.2", registry.client)
    assert "no package of 1.3.0+retrain.0" in caplog.text
    registry.there = False
    approval.deployed(deployment, "run.2", registry.client)
    assert "does not say that" in caplog.text


def test_an_approval_comes_by_no_pointer(storage: Storage) -> None:
    """Who may send a large deployment's conf by way of the bucket could say by it that somebody approved."""
    text = dumps(asked(f"{ARN}/1")).encode()
    uri = "s3://ml-ops-test/web-safety/phishing-url/1.3.0_retrain.0/conf/a.json"
    storage.write(text, uri, "application/json")
    pointer = conf_pointer(uri, hashlib.sha256(text).hexdigest())
    with pytest.raises(ContractError, match="leads to an approval"):
        read_conf(DEPLOYMENT_DAG, pointer, storage, SETTINGS)


def test_another_model_s_package_is_refused(
    released: TrainingConf, storage: Storage, registry: FakeRegistry
) -> None:
    arn = register(released, storage, registry)
    approved(registry, arn)
    with pytest.raises(ContractError, match="another model's"):
        approval.resolve(replace(asked(arn), model="other"), storage, SETTINGS, registry.client)


def test_a_version_without_deployment_is_refused(
    training: TrainingConf, storage: Storage, registry: FakeRegistry
) -> None:
    arn = register(training, storage, registry)
    approved(registry, arn)
    with pytest.raises(DeploymentRefusedError) as caught:
        approval.resolve(asked(arn), storage, SETTINGS, registry.client)
    assert "job deploy" in caught.value.next_step


@pytest.mark.parametrize(
    "metadata",
    [
        {approval.DEPLOYMENT_URI: "s3://ml-ops-test/web-safety/phishing-url/9.9.9_retrain.0/deployment.json"},
        {approval.DEPLOYMENT_URI: "s3://somebody-else/deployment.json"},
        {approval.MODEL_VERSION: "1.2.0+retrain.0"},
        {approval.DEPLOYMENT_SHA256: "0" * 64},
    ],
)
def test_metadata_that_somebody_changed_deploys_nothing(
    released: TrainingConf, storage: Storage, registry: FakeRegistry, metadata: dict[str, str]
) -> None:
    arn = register(released, storage, registry)
    approved(registry, arn)
    registry.only["CustomerMetadataProperties"] |= metadata
    with pytest.raises(ContractError):
        approval.resolve(asked(arn), storage, SETTINGS, registry.client)


def test_a_deployment_that_brings_its_own_override_is_refused(
    released: TrainingConf, deployment: DeploymentConf, storage: Storage, registry: FakeRegistry
) -> None:
    arn = register(released, storage, registry)
    approved(registry, arn)
    text = dumps(replace(deployment, override=Override(reason="x", user="x"))).encode()
    storage.write(text, deployment.evidence_uri + DEPLOYMENT)
    registry.only["CustomerMetadataProperties"][approval.DEPLOYMENT_SHA256] = hashlib.sha256(text).hexdigest()
    with pytest.raises(ContractError, match="not what a training leaves"):
        approval.resolve(asked(arn), storage, SETTINGS, registry.client)


def test_a_deployment_that_is_gone_is_named(
    released: TrainingConf, deployment: DeploymentConf, storage: Storage, registry: FakeRegistry
) -> None:
    arn = register(released, storage, registry)
    approved(registry, arn)
    storage.delete(deployment.evidence_uri + DEPLOYMENT)
    with pytest.raises(StorageError, match="does not exist"):
        approval.resolve(asked(arn), storage, SETTINGS, registry.client)
