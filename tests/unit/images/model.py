"""A small model repository, and the pipelines that run in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mlops.ci.pipeline import Pipeline
from mlops.images.builders import BuildSource
from mlops.images.containerize import read_source
from mlops.manifest import reader

from .work import Work

MANIFEST = """\
project: web-safety
models:
  phishing-url:
    training: {channels: {train: data/train/}}
    evaluation: {data: data/test/, metrics: [{name: f1}]}
    deployment: {smoke_test: {body: "1"}}
"""
DOCKERFILE = """\
FROM python:3.11@sha256:0000000000000000000000000000000000000000000000000000000000000000
ENV GREETING="hello you" \\
    OTHER=1
WORKDIR /opt/program
COPY . .
ENTRYPOINT ["python", "-m", "phish"]
"""
IGNORE = "# docs and tests\n*\n!phish\n**/__pycache__\n"


class ModelRepository(Work):
    """A repository with one model, `phishing-url`, whose image holds `phish/`."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        (root / "mlops.yml").write_text(MANIFEST)
        (root / "Dockerfile").write_text(DOCKERFILE)
        (root / ".dockerignore").write_text(IGNORE)
        self.commit("feat: a model", "phish/__main__.py", "print()\n")

    def source(
        self, variables: Mapping[str, str] | None = None, build_arguments: Mapping[str, str] | None = None
    ) -> BuildSource:
        """What a pipeline with these variables sees; on the default branch when nothing else is said."""
        pipeline = Pipeline.from_environment({**on_main(), **(variables or {})})
        model = reader.load(self.root / "mlops.yml").model()
        return read_source(model, pipeline, build_arguments or {}, "process")


def on_main() -> dict[str, str]:
    """A push to the default branch."""
    return {
        "CI_PIPELINE_SOURCE": "push",
        "CI_PIPELINE_IID": "7",
        "CI_COMMIT_BRANCH": "main",
        "CI_DEFAULT_BRANCH": "main",
        "CI_COMMIT_REF_NAME": "main",
        "CI_SERVER_URL": "https://gitlab.example.org",
        "CI_PROJECT_PATH": "web/phish",
        "CI_PROJECT_ID": "5",
    }


MERGE_REQUEST = {
    "CI_PIPELINE_SOURCE": "merge_request_event",
    "CI_MERGE_REQUEST_IID": "42",
    "CI_COMMIT_REF_NAME": "side",
}
