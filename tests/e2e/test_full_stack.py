"""All of `dev`, by its own modules, on this machine: made, used by one push, and gone again.

The tests run in the order of this file and share one stack, which begins with a snapshot of the account. Where there is
none yet, an apply leaves it. What takes the time of that is what Terraform's provider waits for whatever AWS answers: a
minute for lifecycle rules, half a minute each for a queue and its policy.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from mlops import manifest
from mlops.clients import model_packages
from mlops.local import paths, sdk, terraform
from mlops.local.aws.access.policies import allows
from mlops.local.environment import Environment, find_environment
from mlops.local.stack import Stack, require
from tests.e2e.conftest import mlops
from tests.e2e.test_monitoring import ask, monitor, rows

ENVIRONMENT = "dev"
# Who must have been seen at work: each stage's role, and those of the services in between.
ROLES = {
    "ml-ops-airflow",
    "ml-ops-build",
    "ml-ops-dag-trigger",
    "ml-ops-deploy",
    "ml-ops-sagemaker-execution",
    "ml-ops-train",
}
# A key is kept for a while after it was deleted.
PENDING = "PendingDeletion"


@dataclass(frozen=True)
class Dev:
    """The environment, and the stack that plays it."""

    stack: Stack
    environment: Environment

    def client(self, service: str) -> Any:
        return sdk.client(self.stack, service)

    def terraform(self) -> tuple[Any, ...]:
        return (
            self.stack.folder / "terraform",
            self.stack.aws_endpoint,
            self.environment,
            self.stack.gitlab_url,
            self.stack.access_key,
        )

    def calls(self) -> list[dict[str, Any]]:
        """Every call of a role, oldest first."""
        text = (self.stack.folder / "aws" / "calls.jsonl").read_text(encoding="utf-8")
        return [line for line in map(json.loads, text.splitlines()) if line["role"]]


@pytest.fixture(scope="module")
def dev() -> Iterator[Dev]:
    name = f"full-{os.getpid()}"
    try:
        up = ("local", "--name", name, "up", "--engine", "process", "--environment", ENVIRONMENT)
        done = mlops(*up)
        assert done.returncode == 0, done.stderr[-6000:]
        if (
            "from the snapshot of" not in done.stdout
        ):  # in a new clone, Terraform makes what the next one begins with
            mlops("local", "--name", name, "down")
            done = mlops(*up)
            assert done.returncode == 0, done.stderr[-6000:]
        assert "from the snapshot of" in done.stdout
        stack = require(name)
        yield Dev(stack, find_environment(ENVIRONMENT))
    finally:
        mlops("local", "--name", name, "down")


@pytest.fixture(scope="module")
def pushed(dev: Dev) -> dict[str, Any]:
    """One push of the example, and the click on its deploy job."""
    arguments = ("run", "examples/phishing-url", "--deploy", "--json")
    done = mlops("local", "--name", dev.stack.name, *arguments)
    assert done.returncode == 0, done.stderr[-6000:]
    pipeline: dict[str, Any] = json.loads(done.stdout)
    return pipeline


def test_a_second_plan_has_no_changes(dev: Dev) -> None:
    assert not terraform.workspace(*dev.terraform()).has_changes()


def test_every_module_is_applied(dev: Dev) -> None:
    state = json.loads((dev.stack.folder / "terraform" / "root" / "terraform.tfstate").read_text())
    applied = {resource["module"].split(".")[1].split("[")[0] for resource in state["resources"]}
    source = (paths.checkout() / "terraform" / "modules").iterdir()
    assert {module.name.replace("-", "_") for module in source} <= applied


def test_airflow_reads_its_dags_from_mwaas_bucket(dev: Dev) -> None:
    bucket = dev.stack.outputs["airflow_bucket"]
    listed = dev.client("s3").list_objects_v2(Bucket=bucket, Prefix="dags/")["Contents"]
    there = {one["Key"].removeprefix("dags/") for one in listed}
    folder = dev.stack.folder / "airflow" / "dags"
    assert {file.name for file in folder.iterdir() if file.is_file()} == there >= {"model_training.py"}
    read = {call["resource"] for call in dev.calls() if call["role"] == "ml-ops-airflow"}
    assert f"arn:aws:s3:::{bucket}/dags/model_training.py" in read


def test_the_chain_runs(pushed: dict[str, Any]) -> None:
    states = {job["name"]: job["state"] for job in pushed["jobs"]}
    stages = ("lint", "test", "containerize", "train", "evaluate", "deploy")
    assert {stage: states[stage] for stage in stages} == dict.fromkeys(stages, "success")
    assert pushed["variables"]["MODEL_VERSION"] == "1.0.0+retrain.0"


def test_the_endpoint_predicts(dev: Dev, pushed: dict[str, Any]) -> None:
    model = manifest.load(paths.checkout() / "examples" / "phishing-url" / "mlops.yml").model()
    answer = dev.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=pushed["variables"]["ENDPOINT_NAME"],
        ContentType="application/json",
        Body=manifest.deployment(model).smoke_test.body.encode(),
    )
    document = json.load(answer["Body"])
    assert document["model"]["version"] == "1.0.0+retrain.0"


@pytest.mark.usefixtures("pushed")
def test_what_it_is_asked_is_kept_and_compared(dev: Dev) -> None:
    """The model's own role writes requests, Airflow's reads them; what they may not do shows below."""
    ask(dev.stack, rows())
    assert monitor(dev.stack)["state"] == "stable"


@pytest.mark.usefixtures("pushed")
def test_both_channels_hear_of_it(dev: Dev) -> None:
    shown = json.loads(mlops("local", "--name", dev.stack.name, "inbox", "--json").stdout)["messages"]
    for channel in ("email", "slack"):
        assert len([one for one in shown if one["channel"] == channel]) == 2  # trained, deployed


@pytest.mark.usefixtures("pushed")
def test_every_role_was_at_work_and_was_allowed_everything_it_did(dev: Dev) -> None:
    calls = dev.calls()
    assert {call["role"] for call in calls} >= ROLES
    denied = {(call["role"], call["action"], call["resource"]) for call in calls if not call["allowed"]}
    assert denied == set()


@pytest.mark.usefixtures("pushed")
def test_a_permission_that_is_missing_would_show(dev: Dev) -> None:
    """Each role, without one action that it used: what it did is not allowed any more."""
    used: dict[str, set[str]] = defaultdict(set)
    for call in dev.calls():
        used[call["role"]].add(call["action"])
    for role in sorted(ROLES):
        policies = _policies(dev, role)
        for action in sorted(used[role] - {"sts:GetCallerIdentity"}):
            assert allows(policies, action, (), {}), (role, action)
            assert not allows([_without(policy, action) for policy in policies], action, (), {}), (
                role,
                action,
            )


def _policies(dev: Dev, role: str) -> list[dict[str, Any]]:
    iam = dev.client("iam")
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    return [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]


def _without(policy: dict[str, Any], action: str) -> dict[str, Any]:
    def rest(statement: dict[str, Any]) -> dict[str, Any]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        return statement | {"Action": [one for one in actions if one != action]}

    return {"Statement": [rest(statement) for statement in policy["Statement"]]}


@pytest.mark.usefixtures("pushed")
def test_destroy_leaves_nothing(dev: Dev) -> None:
    sagemaker = dev.client("sagemaker")
    # Deployments made these, and whoever takes an environment down deletes them first.
    for endpoint in sagemaker.list_endpoints()["Endpoints"]:
        sagemaker.delete_endpoint(EndpointName=endpoint["EndpointName"])
    for config in sagemaker.list_endpoint_configs()["EndpointConfigs"]:
        sagemaker.delete_endpoint_config(EndpointConfigName=config["EndpointConfigName"])
    for model in sagemaker.list_models()["Models"]:
        sagemaker.delete_model(ModelName=model["ModelName"])
    for group in sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"]:
        assert model_packages.empty(sagemaker, group["ModelPackageGroupName"]) == 1
    terraform.destroy(*dev.terraform())
    assert (
        json.loads((dev.stack.folder / "terraform" / "root" / "terraform.tfstate").read_text())["resources"]
        == []
    )
    assert left(dev) == {}


def left(dev: Dev) -> dict[str, list[Any]]:
    """All there is in the account, of every kind that Terraform or the chain makes; not what AWS keeps as history."""
    ours = [{"Name": "tag:ml-ops:environment", "Values": [ENVIRONMENT]}]
    asked: dict[tuple[str, str, str], dict[str, Any]] = {
        ("s3", "list_buckets", "Buckets"): {},
        ("ecr", "describe_repositories", "repositories"): {},
        ("sns", "list_topics", "Topics"): {},
        ("sns", "list_subscriptions", "Subscriptions"): {},
        ("sqs", "list_queues", "QueueUrls"): {},
        ("iam", "list_roles", "Roles"): {},
        ("iam", "list_policies", "Policies"): {"Scope": "Local"},
        ("iam", "list_open_id_connect_providers", "OpenIDConnectProviderList"): {},
        ("lambda", "list_functions", "Functions"): {},
        ("logs", "describe_log_groups", "logGroups"): {},
        ("logs", "describe_resource_policies", "resourcePolicies"): {},
        ("ssm", "describe_parameters", "Parameters"): {},
        ("secretsmanager", "list_secrets", "SecretList"): {},
        ("cloudwatch", "describe_alarms", "MetricAlarms"): {},
        ("cloudwatch", "list_dashboards", "DashboardEntries"): {},
        ("cloudwatch", "list_metric_streams", "Entries"): {},
        ("events", "list_rules", "Rules"): {},
        ("budgets", "describe_budgets", "Budgets"): {"AccountId": dev.environment.account},
        ("firehose", "list_delivery_streams", "DeliveryStreamNames"): {},
        ("mwaa", "list_environments", "Environments"): {},
        ("sagemaker", "list_endpoints", "Endpoints"): {},
        ("sagemaker", "list_endpoint_configs", "EndpointConfigs"): {},
        ("sagemaker", "list_models", "Models"): {},
        ("sagemaker", "list_model_package_groups", "ModelPackageGroupSummaryList"): {},
        # every account has a network of AWS's own
        ("ec2", "describe_vpcs", "Vpcs"): {"Filters": ours},
        ("ec2", "describe_subnets", "Subnets"): {"Filters": ours},
        ("ec2", "describe_route_tables", "RouteTables"): {"Filters": ours},
        ("ec2", "describe_security_groups", "SecurityGroups"): {"Filters": ours},
        ("ec2", "describe_vpc_endpoints", "VpcEndpoints"): {"Filters": ours},
        ("ec2", "describe_flow_logs", "FlowLogs"): {"Filters": ours},
        ("ec2", "describe_nat_gateways", "NatGateways"): {"Filters": ours},
        ("ec2", "describe_addresses", "Addresses"): {"Filters": ours},
    }
    found = {
        f"{service} {key}": getattr(dev.client(service), operation)(**members).get(key)
        for (service, operation, key), members in asked.items()
    }
    # shown for a while after they were deleted
    gone = "deleted"
    found["ec2 VpcEndpoints"] = [one for one in found["ec2 VpcEndpoints"] if one["State"] != gone]
    kms = dev.client("kms")
    found["kms Keys"] = [
        key["KeyId"]
        for key in kms.list_keys()["Keys"]
        if kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] != PENDING
    ]
    found["kms Aliases"] = [
        alias["AliasName"]
        for alias in kms.list_aliases()["Aliases"]
        if not alias["AliasName"].startswith("alias/aws/")
    ]
    return {kind: things for kind, things in found.items() if things}
