"""Every module, planned without an account: `terraform test` with a mocked provider."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mlops.clients.terraform.program import Terraform
from mlops.platform import airflow_package, lambda_package

from . import moves, provider

CHECKOUT = Path(__file__).parents[3]
TERRAFORM = CHECKOUT / "terraform"
ROOTS = [folder.name for folder in sorted(TERRAFORM.iterdir()) if (folder / "versions.tf").is_file()]
FOLDERS = sorted([TERRAFORM / "root", TERRAFORM / "bootstrap", *(TERRAFORM / "modules").iterdir()])
BLOCK = re.compile(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)


def test_there_are_roots() -> None:
    assert set(ROOTS) == {"root", "bootstrap"}


@pytest.mark.parametrize("root", ROOTS)
def test_a_root_is_valid_and_its_tests_pass(
    program: Path, installed: Path, tmp_path: Path, root: str
) -> None:
    """As it is rolled out, with its backend."""
    for part in {root, "modules"}:
        shutil.copytree(TERRAFORM / part, tmp_path / part, ignore=shutil.ignore_patterns(".terraform"))
    folder = tmp_path / root
    if root == "root":
        lambda_package.build(folder / "tests" / "package.zip")
        airflow_package.build(folder / "tests" / "airflow")
    # Every provider of the tests is mocked: the real one answers only with its schema.
    kept = {"PATH": os.environ["PATH"]}
    with provider.running(installed, tmp_path / "provider.log", kept) as attached:
        environment = os.environ | {"GOGC": "400"} | attached
        terraform = Terraform(program=program, folder=folder, environment=environment, log=tmp_path / "log")
        terraform.cmd("init", "-backend=false")
        _, valid, _ = terraform.cmd("validate", "-no-tests")
        _, out, _ = terraform.cmd("test")

    assert "Success! The configuration is valid." in valid
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


def test_every_address_that_there_was_is_moved_and_planned_by_a_test() -> None:
    """Of a state with the old addresses: see `moves.undone`."""
    files = {file for file in TERRAFORM.rglob("*.tf") if "moved {" in file.read_text(encoding="utf-8")}
    assert files == {TERRAFORM / folder / "moved.tf" for folder in moves.KNOWN}
    tests = "".join(file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("test_*.py"))
    for folder, known in moves.KNOWN.items():
        assert set(moves.moves(folder)) == known
        assert f': "{folder}"}}' in tests, f"no test plans a state from before the moves of {folder}"


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
