"""SageMaker's model registry in a real Airflow: what a training registers, and what an approval deploys.

In the order of a model's life, with a model of its own: an approval goes by EventBridge and the Lambda to Airflow.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mlops.platform import lambda_package

from .conftest import TRAINING
from .stack import ACCOUNT, BUCKET, MODEL, PROJECT, REGION, Run, Stack

DEPLOYMENT = "model_deployment"
FUNCTION = "ml-ops-dag-trigger"
NAME = "spam-mail"
GROUP = f"{PROJECT}--{NAME}"
TRAININGS = {
    "spam-1": ("1.0.0+retrain.0", {"f1": "0.9"}),
    "spam-2": ("1.1.0+retrain.0", {"f1": "0.95"}),
    "spam-bad": ("1.2.0+retrain.0", {"f1": "0.3"}),
}


class Registry:
    """The model of these tests: its trainings, its packages and its endpoint."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.image = stack.push(f"{PROJECT}/{NAME}")
        self.sagemaker = stack.client("sagemaker")

    def training(self, version: str, **parameters: str) -> dict[str, Any]:
        return self._ours(self.stack.training_conf(version, **parameters))

    def train(self, run_id: str, version: str, **parameters: str) -> Run:
        run = self.stack.run(TRAINING, run_id, self.training(version, **parameters))
        assert run.state == "success", run.tasks
        return run

    def deployment(self, version: str) -> dict[str, Any]:
        return self._ours(self.stack.deployment_conf(version))

    def _ours(self, conf: Mapping[str, Any]) -> dict[str, Any]:
        text = json.dumps(conf).replace(self.stack.image, self.image)
        ours: dict[str, Any] = json.loads(text.replace(MODEL, NAME))
        return ours

    def packages(self, version: str) -> list[dict[str, Any]]:
        found = self.sagemaker.list_model_packages(ModelPackageGroupName=GROUP, MaxResults=100)
        arns = [one["ModelPackageArn"] for one in found["ModelPackageSummaryList"]]
        every = [self.sagemaker.describe_model_package(ModelPackageName=arn) for arn in arns]
        return [one for one in every if one["CustomerMetadataProperties"]["mlops:model-version"] == version]

    def package(self, version: str) -> dict[str, Any]:
        [found] = self.packages(version)
        return found

    def approve(self, version: str, reason: str = "looks good") -> Run:
        """Approve a version, and wait for the run that comes of it."""
        package = self.package(version)["ModelPackageArn"]
        before = self.runs(package)
        self.sagemaker.update_model_package(
            ModelPackageArn=package, ModelApprovalStatus="Approved", ApprovalDescription=reason
        )
        return self.next_run(package, before)

    def next_run(self, package: str, before: set[str]) -> Run:
        for _ in range(600):
            new = self.runs(package) - before
            if new:
                assert len(new) == 1, new
                return self.stack.wait(DEPLOYMENT, new.pop())
            time.sleep(0.1)
        raise AssertionError(f"no run came of {package}")

    def runs(self, package: str) -> set[str]:
        """The runs of approvals of this package."""
        listing = self.stack.call("GET", f"/dags/{DEPLOYMENT}/dagRuns?limit=100")[1]["dag_runs"]
        return {run["dag_run_id"] for run in listing if run["conf"].get("package_arn") == package}

    def event(self, version: str, at: datetime) -> Run:
        """The run of an event as SageMaker would send it, of another time."""
        found = self.package(version)
        told = ("ModelPackageGroupName", "ModelPackageVersion", "ModelPackageArn", "ModelApprovalStatus")
        event = {
            "version": "0",
            "id": "00000000-0000-0000-0000-000000000001",
            "detail-type": "SageMaker Model Package State Change",
            "source": "aws.sagemaker",
            "account": ACCOUNT,
            "time": at.isoformat(timespec="seconds"),
            "region": REGION,
            "resources": [found["ModelPackageArn"]],
            "detail": {key: found[key] for key in told},
        }
        answer = self.stack.client("lambda").invoke(FunctionName=FUNCTION, Payload=json.dumps(event).encode())
        run_id = json.loads(answer["Payload"].read())["run_id"]
        return self.stack.wait(DEPLOYMENT, run_id)

    def served(self) -> str:
        answer = self.stack.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=GROUP, ContentType="application/json", Body=b"{}"
        )
        return str(json.loads(answer["Body"].read())["model"]["version"])

    def told(self, version: str, words: str) -> list[str]:
        """The channels that heard of a version with these words in the subject."""
        return sorted(
            message["channel"]
            for message in self.stack.inbox()
            if f"{NAME} {version}" in message["subject"] and words in message["subject"]
        )


@pytest.fixture(scope="module")
def function(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Lambda, and the rule that leads approvals to it."""
    package = lambda_package.build(tmp_path_factory.mktemp("lambda") / "dag-trigger.zip")
    service = {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    trust = json.dumps({"Version": "2012-10-17", "Statement": [service]})
    role = stack.client("iam").create_role(RoleName=FUNCTION, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    functions, events = stack.client("lambda"), stack.client("events")
    arn = functions.create_function(
        FunctionName=FUNCTION,
        Runtime="python3.13",
        Role=role,
        Handler="handler.handler",
        Code={"ZipFile": package.read_bytes()},
        Timeout=60,
        Environment={"Variables": {"AIRFLOW_ENVIRONMENT": "ml-ops-local", "ALLOWED_DAGS": DEPLOYMENT}},
    )["FunctionArn"]
    pattern = {"source": ["aws.sagemaker"], "detail-type": ["SageMaker Model Package State Change"]}
    rule = events.put_rule(Name="packages", EventPattern=json.dumps(pattern))["RuleArn"]
    events.put_targets(Rule="packages", Targets=[{"Id": "function", "Arn": arn}])
    functions.add_permission(
        FunctionName=FUNCTION,
        StatementId="packages",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=rule,
    )
    yield FUNCTION
    events.disable_rule(Name="packages")


@pytest.fixture(scope="module")
def registry(stack: Stack, function: str) -> Registry:
    assert function
    ours = Registry(stack)
    s3 = stack.client("s3")
    for channel in ("train", "test"):
        s3.put_object(Bucket=BUCKET, Key=f"data/{NAME}/{channel}/{channel}.csv", Body=b"1,0\n0,1\n")
    ours.sagemaker.create_model_package_group(ModelPackageGroupName=GROUP)
    for run_id, (version, parameters) in TRAININGS.items():
        stack.trigger(TRAINING, run_id, ours.training(version, **parameters))
    for run_id in TRAININGS:
        run = stack.wait(TRAINING, run_id, 240)
        assert run.state == "success", run.tasks
    return ours


def nothing_done(run: Run) -> bool:
    return run.state == "success" and run.tasks["validate"] == run.tasks["change_endpoint"] == "skipped"


def test_a_training_that_passes_waits_for_approval(registry: Registry) -> None:
    package = registry.package("1.0.0+retrain.0")
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    [container] = package["InferenceSpecification"]["Containers"]
    model = registry.sagemaker.describe_model(ModelName=f"{GROUP}--1-0-0--r0")["PrimaryContainer"]
    assert (container["Image"], container["ModelDataUrl"]) == (model["Image"], model["ModelDataUrl"])
    evidence = f"s3://{BUCKET}/{PROJECT}/{NAME}/1.0.0_retrain.0/"
    assert package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"] == (
        f"{evidence}challenger/evaluation.json"
    )
    metadata = package["CustomerMetadataProperties"]
    assert metadata["mlops:evidence-uri"] == evidence
    assert metadata["mlops:deployment-uri"] == f"{evidence}deployment.json"


def test_a_training_that_fails_its_gate_is_rejected_with_the_reasons(registry: Registry) -> None:
    package = registry.package("1.2.0+retrain.0")
    assert package["ModelApprovalStatus"] == "Rejected"
    assert package["ApprovalDescription"].startswith("gate failed: f1: ")


def test_an_approval_alone_deploys(registry: Registry) -> None:
    run = registry.approve("1.0.0+retrain.0")
    assert run.state == "success", run.tasks
    assert registry.served() == "1.0.0+retrain.0"
    assert registry.told("1.0.0+retrain.0", "deployed") == ["email", "slack"]
    text = next(m["text"] for m in registry.stack.inbox() if f"{NAME} 1.0.0+retrain.0: dep" in m["subject"])
    assert "Approved in the model registry by local: looks good" in text


def test_an_approval_told_twice_does_nothing_more(registry: Registry) -> None:
    assert nothing_done(registry.event("1.0.0+retrain.0", datetime.now(UTC)))
    assert registry.told("1.0.0+retrain.0", "deployed") == ["email", "slack"]


def test_an_approval_against_the_evidence_is_refused_told_and_taken_back(registry: Registry) -> None:
    run = registry.approve("1.2.0+retrain.0", "I like it")
    assert (run.state, run.tasks["validate"]) == ("failed", "failed")
    assert registry.told("1.2.0+retrain.0", "FAILED at validate") == ["email", "slack"]
    package = registry.package("1.2.0+retrain.0")
    assert package["ModelApprovalStatus"] == "Rejected"
    assert package["ApprovalDescription"].startswith("not deployed: gate failed: f1: ")
    assert registry.served() == "1.0.0+retrain.0"


def test_a_newer_version_must_have_been_compared_with_what_is_in_production(registry: Registry) -> None:
    run = registry.approve("1.1.0+retrain.0")  # compared when nothing was deployed
    assert run.state == "failed"
    assert "the champion changed" in registry.package("1.1.0+retrain.0")["ApprovalDescription"]


def test_a_version_that_is_trained_again_is_registered_anew(registry: Registry) -> None:
    before = registry.package("1.1.0+retrain.0")
    registry.train("spam-2-again", "1.1.0+retrain.0", f1="0.95")
    after = registry.package("1.1.0+retrain.0")
    assert after["ModelPackageVersion"] > before["ModelPackageVersion"]
    assert after["ModelApprovalStatus"] == "PendingManualApproval"


def test_what_a_job_deploys_is_approved_and_the_event_of_that_does_nothing(registry: Registry) -> None:
    arn = registry.package("1.1.0+retrain.0")["ModelPackageArn"]
    before = registry.runs(arn)
    run = registry.stack.run(DEPLOYMENT, "spam-job", registry.deployment("1.1.0+retrain.0"))
    assert run.state == "success", run.tasks
    package = registry.package("1.1.0+retrain.0")
    assert package["ModelApprovalStatus"] == "Approved"
    assert package["ApprovalDescription"].endswith("run spam-job")
    assert nothing_done(registry.next_run(arn, before))


def test_an_approval_of_an_older_version_goes_back_to_it(registry: Registry) -> None:
    run = registry.approve("1.0.0+retrain.0", "1.1.0 is too slow")
    assert run.state == "success", run.tasks
    assert registry.served() == "1.0.0+retrain.0"


def test_an_approval_that_arrives_late_undoes_nothing_and_its_channel_hears_of_it(registry: Registry) -> None:
    events = registry.stack.client("events")
    events.disable_rule(Name="packages")
    try:
        registry.sagemaker.update_model_package(
            ModelPackageArn=registry.package("1.1.0+retrain.0")["ModelPackageArn"],
            ModelApprovalStatus="Approved",
            ApprovalDescription="quick enough",
            CustomerMetadataPropertiesToRemove=[
                "mlops:deployed-at"
            ],  # a person's decision, not the platform's
        )
        time.sleep(0.01)
        endpoint = registry.sagemaker.describe_endpoint(EndpointName=GROUP)["EndpointArn"]
        newer = {"Key": "mlops:decided-at", "Value": datetime.now(UTC).isoformat()}
        registry.sagemaker.add_tags(ResourceArn=endpoint, Tags=[newer])
        # whatever time the event claims
        assert nothing_done(registry.event("1.1.0+retrain.0", datetime.now(UTC) + timedelta(minutes=1)))
    finally:
        events.enable_rule(Name="packages")
    assert registry.served() == "1.0.0+retrain.0"
    assert registry.told("1.1.0+retrain.0", "approved, NOT deployed") == ["email", "slack"]


def test_an_approval_joins_the_deployment_under_way(registry: Registry) -> None:
    registry.train("spam-3", "1.3.0+retrain.0", f1="0.97")
    registry.stack.trigger(DEPLOYMENT, "spam-3-job", registry.deployment("1.3.0+retrain.0"))
    for _ in range(600):
        if registry.sagemaker.describe_endpoint(EndpointName=GROUP)["EndpointStatus"] == "Updating":
            break
        time.sleep(0.05)
    run = registry.approve("1.3.0+retrain.0")
    assert nothing_done(run), run.tasks
    assert registry.stack.wait(DEPLOYMENT, "spam-3-job").state == "success"
    assert registry.served() == "1.3.0+retrain.0"
    assert registry.told("1.3.0+retrain.0", "deployed") == ["email", "slack"]
