"""The module airflow, applied by the real Terraform and provider. Tests run in the order of this file.

The network is not here: the whole of `dev` is applied in tests/e2e.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from mlops.clients.terraform.program import Terraform
from mlops.platform import airflow_package
from mlops_local.base.config import MWAA_DOMAIN
from mlops_local.stack.stack import aws_environment

from . import moves, provider
from .conftest import CHECKOUT, REGION, LocalAws
from .policies import objections

ACCOUNT = "123456789012"
ENVIRONMENT = "ml-ops-dev"
BUCKET = "ml-ops-airflow-dev"
OBJECT = "module.airflow.aws_s3_object"
MODULE = {
    "source": "../modules/airflow",
    "environment_name": ENVIRONMENT,
    "role_name": "ml-ops-airflow",
    "bucket_name": BUCKET,
    "package": "${var.package}",
    "airflow_version": "${var.airflow_version}",
    "subnet_ids": ["subnet-1", "subnet-2"],
    "security_group_ids": ["sg-1"],
    "platform_bucket_arn": "arn:aws:s3:::ml-ops-dev",
    "sagemaker_role_arn": f"arn:aws:iam::{ACCOUNT}:role/ml-ops-sagemaker-execution",
    "settings_parameter": "/ml-ops/settings",
    "slack_secret_arn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:airflow/connections/slack-abcdef",
    "topic_arn": f"arn:aws:sns:{REGION}:{ACCOUNT}:ml-ops-notifications",
    "noncurrent_version_days": None,  # the provider waits a minute for it
    "force_destroy": True,
}


@dataclass
class Applied:
    """A root of this one module."""

    aws: LocalAws
    terraform: Terraform
    package: Path
    values: dict[str, str] = field(default_factory=dict)

    def changes(self) -> dict[str, list[str]]:
        """What an apply would do, by resource."""
        return moves.changes(self.planned())

    def planned(self) -> dict[str, Any]:
        """A plan, which `apply` then carries out."""
        self.terraform.plan_to(self.plan, var=self.values)
        return self.terraform.describe(self.plan)

    @property
    def plan(self) -> Path:
        return self.package.parent / "plan"

    def apply(self) -> None:
        """Do what `changes` said."""
        self.terraform.apply_plan(self.plan)

    def environment(self) -> dict[str, Any]:
        mwaa = mwaa_client(self.aws)
        found: dict[str, Any] = mwaa.get_environment(Name=ENVIRONMENT)["Environment"]
        return found


def mwaa_client(aws: LocalAws) -> Any:
    return boto3.client(
        "mwaa",
        endpoint_url=aws.endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(inject_host_prefix=False),
    )


@pytest.fixture(scope="module")
def airflow(
    aws: LocalAws, program: Path, installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Applied]:
    home = tmp_path_factory.mktemp("airflow")
    root = {
        "variable": {"package": {"type": "string"}, "airflow_version": {"type": "string"}},
        "module": {"airflow": MODULE},
        "output": {"url": {"value": "${module.airflow.webserver_url}"}},
    }
    shutil.copytree(CHECKOUT / "terraform" / "modules", home / "modules")
    folder = home / "root"
    folder.mkdir()
    (folder / "main.tf.json").write_text(json.dumps(root))
    for name in ("versions.tf", ".terraform.lock.hcl"):
        (folder / name).write_bytes((CHECKOUT / "terraform" / "root" / name).read_bytes())
    inherited = {
        name: os.environ[name] for name in ("PATH", "HOME", "TF_CLI_CONFIG_FILE") if name in os.environ
    }
    environment = {**inherited, **aws_environment(aws.endpoint, REGION), "GOGC": "400"}
    # MWAA's host prefixes cannot be resolved in front of a loopback address.
    reached = {"HTTP_PROXY": aws.endpoint, "AWS_ENDPOINT_URL_MWAA": f"http://{MWAA_DOMAIN}"}
    package = airflow_package.build(home / "package")
    with provider.running(installed, home / "provider.log", environment | reached) as attached:
        terraform = Terraform(
            program=program, folder=folder, environment=environment | attached, log=home / "terraform.log"
        )
        terraform.initialise()
        applied = Applied(aws, terraform, package, {"package": str(package), "airflow_version": "3.2.1"})
        terraform.apply_now(var=applied.values)
        yield applied


def test_mwaa_has_what_the_package_holds(airflow: Applied) -> None:
    environment = airflow.environment()
    assert environment["Status"] == "AVAILABLE"
    assert environment["ExecutionRoleArn"] == f"arn:aws:iam::{ACCOUNT}:role/ml-ops-airflow"
    s3 = airflow.aws.client("s3")
    for part, name in (("Plugins", "plugins.zip"), ("Requirements", "requirements.txt")):
        key, version = environment[f"{part}S3Path"], environment[f"{part}S3ObjectVersion"]
        body = s3.get_object(Bucket=BUCKET, Key=key, VersionId=version)["Body"].read()
        assert body == (airflow.package / name).read_bytes()
    keys = {one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET, Prefix="dags/")["Contents"]}
    assert keys == {f"dags/{file.name}" for file in (airflow.package / "dags").iterdir()}
    assert airflow.terraform.outputs()["url"].startswith("https://")


def test_no_policy_is_wider_than_it_must_be(airflow: Applied) -> None:
    iam = airflow.aws.client("iam")
    role = iam.get_role(RoleName="ml-ops-airflow")["Role"]
    documents = {"trust": role["AssumeRolePolicyDocument"]}
    for name in iam.list_role_policies(RoleName="ml-ops-airflow")["PolicyNames"]:
        documents[name] = iam.get_role_policy(RoleName="ml-ops-airflow", PolicyName=name)["PolicyDocument"]
    assert set(documents) == {"trust", "mwaa", "dags"}
    assert not [f"{name}: {line}" for name, policy in documents.items() for line in objections(policy)]


def test_a_changed_dag_is_uploaded_from_wherever_it_lies_and_updates_no_environment(airflow: Applied) -> None:
    """Another machine's checkout must not look like a change: of all that is there, only the DAG is one."""
    airflow.package = airflow_package.build(airflow.package.parent / "elsewhere")
    airflow.values["package"] = str(airflow.package)
    last_update = airflow.environment()["LastUpdate"]
    with (airflow.package / "dags" / "run_tasks.py").open("a") as dag:
        dag.write("# changed\n")
    # the state gets the addresses of before module private-bucket: its resources move, and none is replaced
    modules = {"module.airflow": "modules/airflow"}
    older = moves.undone(airflow.terraform.stored_state(), modules)
    Path(airflow.terraform.working_dir, "terraform.tfstate").write_text(json.dumps(older))
    document = airflow.planned()
    assert moves.made(document) == moves.expected(modules)
    assert moves.changes(document) == {f'{OBJECT}.dags["run_tasks.py"]': ["update"]}
    airflow.apply()
    body = airflow.aws.client("s3").get_object(Bucket=BUCKET, Key="dags/run_tasks.py")["Body"].read()
    assert body.endswith(b"# changed\n")
    assert airflow.environment()["LastUpdate"] == last_update


def test_changed_requirements_update_the_environment_in_place(airflow: Applied) -> None:
    before = airflow.environment()
    with (airflow.package / "requirements.txt").open("a") as requirements:
        requirements.write("tabulate\n")
    assert airflow.changes() == {
        "module.airflow.aws_mwaa_environment.this": ["update"],
        f"{OBJECT}.requirements": ["update"],
    }
    airflow.apply()
    after = airflow.environment()
    assert after["CreatedAt"] == before["CreatedAt"]
    assert after["RequirementsS3ObjectVersion"] != before["RequirementsS3ObjectVersion"]
    assert after["PluginsS3ObjectVersion"] == before["PluginsS3ObjectVersion"]


def test_changed_plugins_take_the_place_of_the_old_ones(airflow: Applied) -> None:
    before = airflow.environment()
    with zipfile.ZipFile(airflow.package / "plugins.zip", "a") as plugins:
        plugins.writestr("more.txt", "more")
    changed = {name: actions for name, actions in airflow.changes().items() if OBJECT not in name}
    assert changed == {"module.airflow.aws_mwaa_environment.this": ["update"]}
    airflow.apply()
    after = airflow.environment()
    assert after["CreatedAt"] == before["CreatedAt"]
    assert after["PluginsS3Path"] != before["PluginsS3Path"]
    listed = airflow.aws.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="plugins/")["Contents"]
    assert [one["Key"] for one in listed] == [after["PluginsS3Path"]]


def test_a_state_holds_no_wheels(airflow: Applied) -> None:
    """With fifty megabytes in it, Terraform took nine gigabytes of memory."""
    state = json.dumps(airflow.terraform.stored_state())
    assert len(state) < 1_000_000 < (airflow.package / "plugins.zip").stat().st_size


def test_a_new_version_of_airflow_is_an_update_in_place(airflow: Applied) -> None:
    # The package is locked to one version, so another is one that was set by hand.
    mwaa_client(airflow.aws).update_environment(Name=ENVIRONMENT, AirflowVersion="3.0.6")
    deadline = time.monotonic() + 30
    while airflow.environment()["Status"] != "AVAILABLE":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert airflow.changes() == {"module.airflow.aws_mwaa_environment.this": ["update"]}
    airflow.apply()
    assert airflow.environment()["AirflowVersion"] == "3.2.1"


def test_destroy_leaves_nothing(airflow: Applied) -> None:
    airflow.terraform.destroy_now(var=airflow.values, refresh=False)
    assert ENVIRONMENT not in mwaa_client(airflow.aws).list_environments()["Environments"]
    assert airflow.aws.client("iam").list_roles()["Roles"] == []
    assert airflow.aws.client("s3").list_buckets()["Buckets"] == []
    assert airflow.aws.client("logs").describe_log_groups()["logGroups"] == []
