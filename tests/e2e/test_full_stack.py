"""All of `dev` on this machine, by `mlops local up`: made by its own modules, or from a snapshot of that.

What its roles may do, a push, and that nothing is left of it, are in test_install.py, on the `dev` that is made there.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

import pytest

from mlops_local.base import paths
from mlops_local.base.environment import find_environment
from mlops_local.stack import sdk, terraform
from mlops_local.stack.stack import Stack, require
from tests.e2e.conftest import calls, mlops

ENVIRONMENT = "dev"
# The name of a module's call, and the folder that it calls.
CALL = re.compile(r'^module "(\w+)" \{\n +source += "\.\./(?:modules/)?([\w-]+)"', re.MULTILINE)


@pytest.fixture(scope="module")
def dev() -> Iterator[Stack]:
    name = f"full-{os.getpid()}"
    try:
        done = mlops("local", "--name", name, "up", "--engine", "process", "--environment", ENVIRONMENT)
        assert done.returncode == 0, done.stderr[-6000:]
        yield require(name)
    finally:
        mlops("local", "--name", name, "down")


def test_a_second_plan_has_no_changes(dev: Stack) -> None:
    work = dev.folder / "terraform"
    environment = find_environment(ENVIRONMENT)
    made = terraform.workspace(work, dev.aws_endpoint, environment, dev.gitlab_url, dev.access_key)
    assert not made.has_changes()


def test_every_module_is_applied(dev: Stack) -> None:
    state = json.loads(terraform.state(dev.folder / "terraform").read_text())
    source = paths.checkout() / "terraform"
    text = "".join(file.read_text(encoding="utf-8") for file in source.rglob("*.tf"))
    folders = dict(CALL.findall(text))
    applied = {
        folders[call]
        for resource in state["resources"]
        for call in re.findall(r"\bmodule\.(\w+)", resource["module"])
    }
    assert {module.name for module in (source / "modules").iterdir()} == applied


def test_airflow_reads_its_dags_from_mwaas_bucket(dev: Stack) -> None:
    bucket = dev.outputs["airflow_bucket"]
    listed = sdk.client(dev, "s3").list_objects_v2(Bucket=bucket, Prefix="dags/")["Contents"]
    there = {one["Key"].removeprefix("dags/") for one in listed}
    folder = dev.folder / "airflow" / "dags"
    assert {file.name for file in folder.iterdir() if file.is_file()} == there >= {"model_training.py"}
    read = {call["resource"] for call in calls(dev) if call["role"] == "ml-ops-airflow"}
    assert f"arn:aws:s3:::{bucket}/dags/model_training.py" in read
