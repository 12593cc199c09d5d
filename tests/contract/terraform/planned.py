"""Every policy that a plan of dev, stage or prod holds, and what every bucket in it has.

Planned with a mocked provider (`planned.tftest.hcl`), which knows at once what AWS would answer: so each document
is there in full, where a real first plan says `known after apply`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops.clients.terraform.program import Terraform
from mlops.platform import airflow_package, lambda_package

from . import provider
from .policies import objections, objections_to_endpoint

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[2]
ENVIRONMENTS = ("dev", "stage", "prod")
# Attributes that hold a document; where one is unknown, nobody has reviewed it.
ATTRIBUTES = {"access_policy", "assume_role_policy", "policy", "policy_document"}
# Their policies are resources of their own, or there is none: the attribute only shows what AWS answers.
ELSEWHERE = {"aws_s3_bucket", "aws_secretsmanager_secret", "aws_sns_topic"}

PLANTED = {
    "resource": {
        "aws_iam_role_policy": {
            "planted": {
                "role": "ml-ops-train",
                "policy": '${jsonencode({ Statement = [{ Effect = "Allow", Action = "s3:*", Resource = "*" }] })}',
            }
        }
    }
}
_PACKAGES = """
    dag_trigger_package = "./tests/package.zip"
    airflow_package     = "./tests/airflow"
"""
_RUN_PLANTED = """
run "planted" {
  command = plan
  module {
    source = "./planted"
  }
}
"""


@dataclass(frozen=True)
class Planned:
    """The policies and the buckets of one plan."""

    documents: dict[str, dict[str, Any]]
    """By where they stand, such as `module.storage.aws_s3_bucket_policy.this.policy`."""
    unknown: set[str]
    """The attributes that should hold one, and did not."""
    buckets: dict[str, dict[str, Any]]
    """By a bucket's name, what it has beside itself, such as its `versioning`."""

    def objections(self) -> list[str]:
        return [
            f"{where}: {line}" for where, policy in self.documents.items() for line in _review(where, policy)
        ]


def _review(where: str, policy: dict[str, Any]) -> Iterator[str]:
    if ".aws_vpc_endpoint." in where:
        return objections_to_endpoint(policy)
    return objections(policy, of_key=".aws_kms_key." in where)


def plan_all(program: Path, binary: Path, home: Path) -> dict[str, Planned]:
    """The policies of each environment's plan, and of `planted`: one Terraform plans them all."""
    ignored = shutil.ignore_patterns("backend.tf", ".terraform", "tests")
    root = Path(shutil.copytree(CHECKOUT / "terraform", home / "terraform", ignore=ignored)) / "root"
    (root / "tests").mkdir()
    (root / "planted").mkdir()
    (root / "planted" / "main.tf.json").write_text(json.dumps(PLANTED), encoding="utf-8")
    mocked = (HERE / "planned.tftest.hcl").read_text(encoding="utf-8")
    runs = "".join(_run(environment) for environment in ENVIRONMENTS) + _RUN_PLANTED
    (root / "tests" / "planned.tftest.hcl").write_text(mocked + runs, encoding="utf-8")
    lambda_package.build(root / "tests" / "package.zip")
    airflow_package.build(root / "tests" / "airflow")
    with provider.running(binary, home / "provider.log", {"PATH": os.environ["PATH"]}) as attached:
        environment = os.environ | {"GOGC": "400"} | attached
        Terraform(program=program, folder=root, environment=environment, log=home / "log").initialise()
        return _plan(program, root, environment)


def _run(environment: str) -> str:
    """A plan of the test with the environment's own values, as they are written."""
    values = (CHECKOUT / "terraform" / "environments" / environment / "values.tfvars").read_text(
        encoding="utf-8"
    )
    return f'run "{environment}" {{\n  command = plan\n  variables {{\n{values}{_PACKAGES}  }}\n}}\n'


def _plan(program: Path, root: Path, environment: Mapping[str, str]) -> dict[str, Planned]:
    answer = subprocess.run(
        [program, "test", "-json", "-verbose"],
        cwd=root,
        env={**environment, "CHECKPOINT_DISABLE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr
    messages = [json.loads(line) for line in answer.stdout.splitlines()]
    return {
        message["@testrun"]: _planned(message["test_plan"])
        for message in messages
        if message["type"] == "test_plan"
    }


def _planned(plan: dict[str, Any]) -> Planned:
    documents: dict[str, dict[str, Any]] = {}
    unknown: set[str] = set()
    for resource in plan["resource_changes"]:
        documents.update(_documents(resource["address"], resource["change"]["after"]))
        if resource["type"] not in ELSEWHERE:
            left = ATTRIBUTES & set(resource["change"].get("after_unknown") or {})
            unknown |= {f"{resource['address']}.{attribute}" for attribute in left}
    return Planned(documents, unknown, _buckets(plan))


def _buckets(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = [(one["type"], one["change"]["after"]) for one in plan["resource_changes"]]
    made = [bucket for kind, bucket in found if kind == "aws_s3_bucket"]
    names = {bucket[key]: bucket["bucket"] for bucket in made for key in ("bucket", "id")}
    buckets: dict[str, dict[str, Any]] = {bucket["bucket"]: {} for bucket in made}
    for kind, setting in found:
        if kind.startswith("aws_s3_bucket_"):
            buckets[names[setting["bucket"]]][kind.removeprefix("aws_s3_bucket_")] = setting
    return buckets


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
