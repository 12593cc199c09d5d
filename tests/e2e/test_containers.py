"""A model in real containers: checked, built, trained, evaluated and served there, by the commands of the demo.

What the demo's further pushes show (versions, gates, a refusal) does not depend on the engine: test_demo.py has it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import LITTLE_CHECKED, commit, mlops, repository

# Read here: no test sees the variables of the person who runs it.
BASE_IMAGE = os.environ.get("MLOPS_TEST_BASE_IMAGE", "")
BUILD = {"MLOPS_BUILD_ARGS": f"BASE_IMAGE={BASE_IMAGE}", "MLOPS_BUILD_NETWORK": "host"}


@pytest.mark.docker
@pytest.mark.skipif(not BASE_IMAGE, reason="no container engine with a base image")
def test_a_model_is_released_in_real_containers_and_built_once(tmp_path: Path) -> None:
    name = f"docker-{os.getpid()}"
    model = repository("phishing-url", tmp_path, LITTLE_CHECKED)
    commit(model, "feat: tell phishing from legitimate sites")

    def run(*arguments: str) -> dict[str, Any]:
        done = mlops("local", "--name", name, *arguments, "--json", **BUILD)
        assert done.returncode == 0, done.stderr[-6000:]
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    try:
        assert run("up", "--engine", "docker")["engine"] == "docker"
        first = run("run", str(model), "--deploy")
        states = {job["name"]: job["state"] for job in first["jobs"]}
        stages = ("lint", "test", "containerize", "train", "evaluate", "deploy")
        assert {stage: states[stage] for stage in stages} == dict.fromkeys(stages, "success")
        assert first["variables"]["MODEL_VERSION"] == "1.0.0+retrain.0"
        assert (first["variables"]["IMAGE_BUILT"], first["variables"]["GATE"]) == ("true", "passed")

        (model / "README.md").write_text("# Phishing\n", encoding="utf-8")
        commit(model, "docs: say less")
        second = run("run", str(model))
        assert second["variables"]["IMAGE_BUILT"] == "false"
        assert second["variables"]["IMAGE_DIGEST"] == first["variables"]["IMAGE_DIGEST"]
    finally:
        mlops("local", "--name", name, "down")
