"""Every root module is valid as it is rolled out, with its backend."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from mlops.clients.terraform import Terraform
from mlops.local.terraform import initialising, plugins

TERRAFORM = Path(__file__).parents[3] / "terraform"
ROOTS = [folder.name for folder in sorted(TERRAFORM.iterdir()) if (folder / "versions.tf").is_file()]


def test_there_are_roots() -> None:
    assert "root" in ROOTS


@pytest.mark.parametrize("root", ROOTS)
def test_a_root_is_valid(program: Path, tmp_path: Path, root: str) -> None:
    for part in {root, "modules"}:
        # With its lock file: without one, Terraform puts the provider into the cache anew, under those that run it.
        ignored = shutil.ignore_patterns(".terraform")
        shutil.copytree(TERRAFORM / part, tmp_path / part, ignore=ignored)
    environment = os.environ | {"TF_PLUGIN_CACHE_DIR": str(plugins())}
    terraform = Terraform(
        program=program, folder=tmp_path / root, environment=environment, log=tmp_path / "log"
    )
    with initialising():
        terraform.cmd("init", "-backend=false")

    _, out, _ = terraform.cmd("validate")

    assert "Success! The configuration is valid." in out
