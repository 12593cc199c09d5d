"""A local GitLab with this checkout's templates as platform/ml-ops, and a model repository that triggers it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gitlab
import pytest

from mlops_local.gitlab.projects import LocalProject, create_project
from mlops_local.gitlab.users import PROJECT_TOKEN
from mlops_local.pipelines.pipeline import PipelineOptions, PipelineRun, run
from mlops_local.pipelines.sources import publish_templates
from mlops_local.pipelines.variables import PipelineTrigger
from mlops_local.stack.stack import TEMPLATES_PROJECT, Stack
from tests.local.gitlab.conftest import git, stack

from ..templates.conftest import planner, templates

__all__ = ["git", "planner", "stack", "templates"]

UPSTREAM = "models/phishing-url"
CI = """\
include:
  - project: platform/ml-ops
    ref: "1"
    file: ci-templates/downstream.yml
phishing-url:
  extends: .mlops-trigger
  trigger:
    inputs: {model: phishing-url}
"""
MANIFEST = "version: 1\nproject: web-safety\nmodels: {phishing-url: {}}\n"


@dataclass
class Lab:
    """The model repository's clone, its project, and the platform's."""

    stack: Stack
    folder: Path
    git: Any
    project: LocalProject

    def commit(self, files: dict[str, str], message: str) -> str:
        for name, text in files.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(text)
        self.git(self.folder, "add", "--all")
        self.git(self.folder, "commit", "--quiet", "--allow-empty", f"--message={message}")
        self.git(self.folder, "push", "--quiet", "origin", "HEAD")
        return str(self.git(self.folder, "rev-parse", "HEAD"))

    def run(self, commit: str, trigger: PipelineTrigger | None = None, **variables: str) -> PipelineRun:
        tools = (Path(sys.executable).parent,)
        options = PipelineOptions(variables=variables, tools=tools, limit_seconds=240)
        return run(self.stack, self.project.path, commit, trigger, echo=lambda _: None, options=options)

    def remote(self, path: str = UPSTREAM) -> Any:
        return gitlab.Gitlab(self.stack.gitlab_url, private_token=PROJECT_TOKEN).projects.get(path)


@pytest.fixture
def lab(stack: Stack, tmp_path: Path, git: Any) -> Lab:
    made = start(stack, tmp_path, git, UPSTREAM)
    made.commit({".gitlab-ci.yml": CI, "mlops.yml": MANIFEST}, "feat: begin")
    return made


def start(stack: Stack, place: Path, git: Any, path: str) -> Lab:
    """An empty model repository, whose project has that path."""
    publish_templates(stack, TEMPLATES_PROJECT)
    project = create_project(stack.folder / "gitlab", path)
    folder = place / project.path.rpartition("/")[2]
    git(place, "init", "--quiet", "--initial-branch=main", str(folder))
    git(folder, "remote", "add", "origin", f"{stack.gitlab_url}/{path}.git")
    return Lab(stack, folder, git, project)
