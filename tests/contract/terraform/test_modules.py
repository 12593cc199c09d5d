"""Every module, planned without an account: `terraform test` with a mocked provider."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mlops import airflow_package, lambda_package
from mlops.clients.terraform import Terraform
from mlops.local.terraform import initialising, plugins

CHECKOUT = Path(__file__).parents[3]
TERRAFORM = CHECKOUT / "terraform"
FOLDERS = sorted([TERRAFORM / "root", TERRAFORM / "bootstrap", *(TERRAFORM / "modules").iterdir()])
BLOCK = re.compile(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)


def test_the_tests_of_root_and_modules_pass(program: Path, copy: Path) -> None:
    lambda_package.build(copy / "tests" / "package.zip")
    airflow_package.build(copy / "tests" / "airflow")
    _run_tests(program, copy)


def test_the_tests_of_bootstrap_pass(program: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bootstrap"
    shutil.copytree(TERRAFORM / "bootstrap", folder, ignore=shutil.ignore_patterns(".terraform"))
    _run_tests(program, folder)


def _run_tests(program: Path, folder: Path) -> None:
    environment = os.environ | {"TF_PLUGIN_CACHE_DIR": str(plugins()), "GOGC": "400"}
    terraform = Terraform(program=program, folder=folder, environment=environment, log=folder / "log")
    with initialising():
        terraform.initialise()
    _, out, _ = terraform.cmd("test")
    summary = re.search(r"Success! (\d+) passed, 0 failed", out)
    assert summary, out
    assert int(summary[1]) == sum(
        len(re.findall(r"^run ", file.read_text(encoding="utf-8"), re.MULTILINE))
        for file in (folder / "tests").glob("*.tftest.hcl")
    )


def test_every_module_has_tests() -> None:
    tests = "".join(file.read_text(encoding="utf-8") for file in (TERRAFORM / "root/tests").glob("*.hcl"))
    for module in (TERRAFORM / "modules").iterdir():
        assert f'source = "../modules/{module.name}"' in tests, f"{module.name} has no test"


def test_the_files_are_formatted(program: Path) -> None:
    answer = subprocess.run(
        [program, "fmt", "-check", "-recursive", "-diff", TERRAFORM],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_variables_are_typed_described_and_validated(folder: Path) -> None:
    blocks = BLOCK.findall((folder / "variables.tf").read_text(encoding="utf-8"))
    assert blocks
    for _, name, body in blocks:
        assert re.search(r"^  type\s+= ", body, re.MULTILINE), f"{name} has no type"
        assert re.search(r"^  description\s+= \"[^\"]+\.\"$", body, re.MULTILINE), f"{name} is not described"
        free = re.search(r"^  type\s+= bool$", body, re.MULTILINE) or name == "secret_kms_key_id"
        assert free or "validation {" in body, f"{name} takes anything"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_outputs_are_described(folder: Path) -> None:
    for _, name, body in BLOCK.findall((folder / "outputs.tf").read_text(encoding="utf-8")):
        assert "description = " in body, f"{name} is not described"
