"""The pipeline's own roles: what an apply and a plan call is what they may, and no more is denied."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from mlops.clients.aws import model_packages
from mlops.clients.aws.ecr import count_images
from mlops.clients.terraform.program import Terraform
from mlops.platform import lambda_package
from mlops_local.stack import terraform

from .conftest import REGION, LocalAws, attached

ACCOUNT = "123456789012"
GITLAB = {"url": "https://gitlab.example.com", "platform_project": "platform/ml-ops"}
# Everybody may ask who they are; the provider asks for the user where that fails.
NEEDS_NO_PERMISSION = {"sts:GetCallerIdentity", "iam:GetUser"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, aws: LocalAws, installed: Path) -> Iterator[Path]:
    """Where an administrator has made the roles, and nothing else yet."""
    folder = tmp_path_factory.mktemp("pipeline")
    package = lambda_package.build(folder / "dag-trigger.zip")
    values = {"dag_trigger_package": str(package), "gitlab": GITLAB}
    (folder / "stack.tfvars.json").write_text(json.dumps(values), encoding="utf-8")
    with attached(folder, aws, installed):
        terraform.workspace(folder, aws.endpoint).apply_now(target=["module.identity"], parallelism=20)
        yield folder


def grant_of(aws: LocalAws, purpose: str) -> dict[str, str]:
    """A session of a role; to make it without GitLab, the role trusts the account's administrator meanwhile."""
    iam, name = aws.client("iam"), f"ml-ops-{purpose}"
    trust = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    root = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    own = {"Effect": "Allow", "Principal": root, "Action": "sts:AssumeRole"}
    loose = {**trust, "Statement": [*trust["Statement"], own]}
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(loose))
    try:
        grant: dict[str, str] = aws.client("sts").assume_role(
            RoleArn=f"arn:aws:iam::{ACCOUNT}:role/{name}", RoleSessionName="gitlab-1-2"
        )["Credentials"]
    finally:
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(trust))
    return grant


def as_role(home: Path, aws: LocalAws, purpose: str) -> Terraform:
    grant = grant_of(aws, purpose)
    made = terraform.workspace(home, aws.endpoint)
    # the provider that runs has the administrator's credentials in its environment; a root's own come first
    override = home / "root" / "local_override.tf.json"
    document = json.loads(override.read_text(encoding="utf-8"))
    document["provider"]["aws"] |= {
        "access_key": grant["AccessKeyId"],
        "secret_key": grant["SecretAccessKey"],
        "token": grant["SessionToken"],
    }
    override.write_text(json.dumps(document), encoding="utf-8")
    return made


def calls(aws: LocalAws, purpose: str) -> tuple[set[str], set[str]]:
    """The actions of a role that were allowed, and those that were not."""
    lines = (aws.home / "calls.jsonl").read_text(encoding="utf-8").splitlines()
    ours = [call for call in map(json.loads, lines) if call["role"] == f"ml-ops-{purpose}"]
    return (
        {call["action"] for call in ours if call["allowed"]},
        {call["action"] for call in ours if not call["allowed"]} - NEEDS_NO_PERMISSION,
    )


def test_apply_may_do_what_it_does(home: Path, aws: LocalAws) -> None:
    as_role(home, aws, "apply").apply_now(parallelism=20)
    allowed, denied = calls(aws, "apply")
    assert denied == set()
    assert {"iam:CreateRole", "lambda:CreateFunction", "s3:CreateBucket", "sns:CreateTopic"} <= allowed


def test_plan_reads_all_of_it_and_changes_nothing(home: Path, aws: LocalAws) -> None:
    assert not as_role(home, aws, "plan").has_changes()
    allowed, denied = calls(aws, "plan")
    assert denied == set()
    assert {action.partition(":")[2][:3] for action in allowed} <= {"Des", "Get", "Hea", "Lis", "Vie"}


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("purpose", ["plan", "apply"])
def test_whether_a_model_is_empty_they_may_see_and_not_change(aws: LocalAws, purpose: str) -> None:
    grant = grant_of(aws, purpose)
    session = boto3.Session(grant["AccessKeyId"], grant["SecretAccessKey"], grant["SessionToken"], REGION)
    ecr = session.client("ecr", endpoint_url=aws.endpoint)
    sagemaker = session.client("sagemaker", endpoint_url=aws.endpoint)
    assert count_images(ecr, "web-safety/spam") == (0, False)
    assert model_packages.count(sagemaker, "web-safety--spam") == (0, False)
    with pytest.raises(ClientError):
        ecr.batch_delete_image(repositoryName="web-safety/spam", imageIds=[{"imageTag": "1.0.0"}])
    with pytest.raises(ClientError):
        sagemaker.delete_model_package(ModelPackageName="web-safety--spam")
    allowed, denied = calls(aws, purpose)
    assert {"ecr:ListImages", "sagemaker:ListModelPackages"} <= allowed
    assert denied == {"ecr:BatchDeleteImage", "sagemaker:DeleteModelPackage"}
