"""Every policy that a plan of dev, stage or prod holds, read by the reviewer.

Planned with a mocked provider (`planned.tftest.hcl`), which knows at once what AWS would answer: so each document
is there in full, where a real first plan says `known after apply`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlops import airflow_package, lambda_package
from mlops.clients.terraform import Terraform
from mlops.local.aws import web_identity
from mlops.local.terraform import initialising, plugins

from .policies import objections, objections_to_endpoint

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[2]
ENVIRONMENTS = ("dev", "stage", "prod")
PURPOSES = ("build", "train", "deploy")
# Attributes that hold a document; where one is unknown, nobody has reviewed it.
ATTRIBUTES = {"access_policy", "assume_role_policy", "policy", "policy_document"}
# Their policies are resources of their own, or there is none: the attribute only shows what AWS answers.
ELSEWHERE = {"aws_s3_bucket", "aws_secretsmanager_secret", "aws_sns_topic"}


@dataclass(frozen=True)
class Planned:
    """The policies of one plan."""

    documents: dict[str, dict[str, Any]]
    """By where they stand, such as `module.storage.aws_s3_bucket_policy.this.policy`."""
    unknown: set[str]
    """The attributes that should hold one, and did not."""

    def objections(self) -> list[str]:
        return [
            f"{where}: {line}" for where, policy in self.documents.items() for line in _review(where, policy)
        ]


def _review(where: str, policy: dict[str, Any]) -> Iterator[str]:
    if ".aws_vpc_endpoint." in where:
        return objections_to_endpoint(policy)
    return objections(policy, of_key=".aws_kms_key." in where)


@pytest.fixture(scope="module")
def root(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of Terraform, initialised, whose only test plans it."""
    home = tmp_path_factory.mktemp("planned")
    ignored = shutil.ignore_patterns("backend.tf", ".terraform", "tests")
    copy = Path(shutil.copytree(CHECKOUT / "terraform", home / "terraform", ignore=ignored)) / "root"
    (copy / "tests").mkdir()
    shutil.copy(HERE / "planned.tftest.hcl", copy / "tests")
    lambda_package.build(copy / "tests" / "package.zip")
    airflow_package.build(copy / "tests" / "airflow")
    environment = os.environ | {"TF_PLUGIN_CACHE_DIR": str(plugins())}
    terraform = Terraform(program=program, folder=copy, environment=environment, log=copy / "log")
    with initialising():
        terraform.initialise()
    return copy


def plan(program: Path, root: Path, environment: str) -> Planned:
    """The policies of the environment's plan."""
    values = f"-var-file=../environments/{environment}/values.tfvars"
    packages = ["-var=dag_trigger_package=./tests/package.zip", "-var=airflow_package=./tests/airflow"]
    answer = subprocess.run(
        [program, "test", "-json", "-verbose", values, *packages],
        cwd=root,
        env=os.environ | {"GOGC": "400", "CHECKPOINT_DISABLE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr
    messages = [json.loads(line) for line in answer.stdout.splitlines()]
    (planned,) = [message["test_plan"] for message in messages if message["type"] == "test_plan"]
    documents: dict[str, dict[str, Any]] = {}
    unknown: set[str] = set()
    for resource in planned["resource_changes"]:
        documents.update(_documents(resource["address"], resource["change"]["after"]))
        if resource["type"] not in ELSEWHERE:
            left = ATTRIBUTES & set(resource["change"].get("after_unknown") or {})
            unknown |= {f"{resource['address']}.{attribute}" for attribute in left}
    return Planned(documents, unknown)


def _documents(where: str, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every policy document in a value, wherever it is."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _documents(f"{where}.{key}", inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _documents(where, inner)
    elif isinstance(value, str) and '"Statement"' in value:
        yield where, json.loads(value)


def opens(planned: Planned, role: str, purpose: str, project: str = "models/phishing-url") -> bool:
    """Whether the local STS gives a role to a job of the protected branch whose audience has this purpose."""
    kind = "platform" if role in ("plan", "apply") else "models"
    policy = planned.documents[f'module.identity[0].aws_iam_role.{kind}["{role}"].assume_role_policy']
    provider = policy["Statement"][0]["Principal"]["Federated"]
    claims = {
        "aud": "/".join(filter(None, ("https://gitlab.example.com", purpose))),
        "sub": f"project_path:{project}:ref_type:branch:ref:main",
    }
    return web_identity.trusts(policy, provider, "gitlab.example.com", claims)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_policy_is_wider_than_it_must_be(environment: str, program: Path, root: Path) -> None:
    planned = plan(program, root, environment)
    assert not planned.objections()
    kinds = {part for where in planned.documents for part in where.split(".") if part.startswith("aws_")}
    assert kinds >= {
        "aws_cloudwatch_log_resource_policy",
        "aws_iam_policy",
        "aws_iam_role",
        "aws_iam_role_policy",
        "aws_kms_key",
        "aws_s3_bucket_policy",
        "aws_sns_topic_policy",
        "aws_sqs_queue",
        "aws_vpc_endpoint",
    }
    for purpose in PURPOSES:
        assert {one for one in (*PURPOSES, "") if opens(planned, purpose, one)} == {purpose}
    for purpose in ("plan", "apply"):
        assert {one for one in (*PURPOSES, "") if opens(planned, purpose, one, "platform/ml-ops")} == {""}
    # MWAA's own endpoints have none: AWS recommends not to bound them, as MWAA calls from AWS's account.
    assert {where.split('"')[0] for where in planned.unknown} <= {
        "module.network[0].aws_vpc_endpoint.service["
    }


def test_a_bad_policy_is_found(program: Path, root: Path) -> None:
    planted = {
        "resource": {
            "aws_iam_role_policy": {
                "planted": {
                    "role": "ml-ops-train",
                    "policy": '${jsonencode({ Statement = [{ Effect = "Allow", Action = "s3:*", Resource = "*" }] })}',
                }
            }
        }
    }
    file = root / "planted.tf.json"
    file.write_text(json.dumps(planted), encoding="utf-8")
    try:
        found = plan(program, root, "dev").objections()
    finally:
        file.unlink()
    assert found == [
        "aws_iam_role_policy.planted.policy: a statement allows s3:*",
        "aws_iam_role_policy.planted.policy: a statement allows s3:* on every resource",
    ]
