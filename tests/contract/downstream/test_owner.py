"""A model repository that calls its model by the name of somebody else's, with the real registry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops.base.errors import OwnerError
from mlops.clients.aws.oci_registry import OWNER_TAG
from mlops_local.pipelines.pipeline import PipelineRun
from mlops_local.stack.stack import Stack

from ..registry.conftest import DOCKERFILE, MANIFEST, LocalRegistry, local
from .conftest import CI, UPSTREAM, start
from .test_pipelines import CODE, log, logs, states

__all__ = ["local"]

MODEL = "web-safety/phishing-url"
FILES = {
    **CODE,
    ".gitlab-ci.yml": CI,
    "mlops.yml": MANIFEST.format(model="phishing-url"),
    "Dockerfile": DOCKERFILE,
    ".dockerignore": "*\n!phish\n",
    "phish/__main__.py": '"""Learns."""\n\nprint()\n',
}


@pytest.fixture(scope="module")
def _model(local: LocalRegistry) -> None:
    """The repository of a model, as Terraform makes it."""
    local.client().create_repository(
        repositoryName=MODEL,
        imageTagMutability="IMMUTABLE",
        tags=[{"Key": OWNER_TAG, "Value": UPSTREAM}],
    )


def tags(local: LocalRegistry) -> set[str]:
    images = local.client().describe_images(repositoryName=MODEL)["imageDetails"]
    return {tag for image in images for tag in image["imageTags"] if not tag.startswith("src-")}


@pytest.mark.usefixtures("_model")
@pytest.mark.parametrize(
    ("path", "releases"), [("models/other", set()), (UPSTREAM, {"1.0.0"})], ids=["other", "own"]
)
def test_only_the_project_of_the_model_releases_it(
    local: LocalRegistry, stack: Stack, tmp_path: Path, git: Any, path: str, releases: set[str]
) -> None:
    lab = start(replace(stack, aws_port=local.port, engine="process"), tmp_path, git, path)

    done = lab.run(lab.commit(FILES, "feat: mine"))

    downstream: PipelineRun = done.downstream["phishing-url"]
    told = logs(done)
    assert f"✓ {path} main" in log(downstream, "phishing-url:fetch"), told
    job = downstream.job("phishing-url:containerize")
    assert tags(local) == releases, told
    if releases:
        assert job.state == "success", told
        return
    assert job.exit_code == OwnerError.exit_code, told
    assert "it belongs to models/phishing-url, and this is code of models/other" in log(downstream, job.name)
    after = {name.partition(":")[2]: state for name, state in states(downstream).items()}
    assert {after[name] for name in ("train", "evaluate", "deploy")} == {"skipped"}
    assert states(done)["phishing-url"] == "failed"
