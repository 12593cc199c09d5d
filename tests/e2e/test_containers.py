"""The demo's pushes in real containers, beside the same with processes: another engine, the same outcome."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.conftest import demo

# Read here: no test sees the variables of the person who runs it.
BASE_IMAGE = os.environ.get("MLOPS_TEST_BASE_IMAGE", "")


@pytest.mark.docker
@pytest.mark.skipif(not BASE_IMAGE, reason="no container engine with a base image")
def test_the_same_pushes_in_real_containers(tmp_path: Path) -> None:
    for done in demo(
        f"docker-{os.getpid()}",
        "docker",
        tmp_path / "summary.json",
        MLOPS_BUILD_ARGS=f"BASE_IMAGE={BASE_IMAGE}",
        MLOPS_BUILD_NETWORK="host",
    ):
        outcomes = [(push["built"], push["gate"], push["deployed"]) for push in done.summary["pushes"]]
        assert outcomes == [
            (True, "passed", True),
            (True, "passed", True),
            (False, "passed", True),
            (True, "failed", False),
            (True, "passed", True),
        ]
        assert done.summary["pushes"][4]["downstream"]["told"] == {"ml-ops/species": "success"}
        assert done.summary["engine"] == "docker"
        assert done.summary["endpoint"]["model_version"] == "1.1.0+retrain.0"
