"""The templates as files, filled in, and as gitlab-ci-local evaluates them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops_local.base import paths
from mlops_local.gitlab.pipelines import StoredPipeline
from mlops_local.pipelines import gitlab_ci_local as engine
from mlops_local.pipelines.ci_file import NoPipelineError
from mlops_local.pipelines.variables import SOURCES, CommitDetails, PipelineTrigger, predefined

Document = dict[str, Any]
Planner = Callable[..., dict[str, engine.PlannedJob]]

_INPUT = re.compile(r"\$\[\[ inputs\.([a-z0-9-]+)(?: \| expand_vars)? \]\]")


class Template:
    """A template: its inputs, and its configuration with inputs filled in."""

    def __init__(self, file: Path) -> None:
        self.name = file.stem
        self.text = file.read_text(encoding="utf-8")
        documents = list(yaml.safe_load_all(self.text))
        self.header: Document = documents[0] if "spec" in documents[0] else {}
        self._configuration: Document = documents[-1]

    @property
    def inputs(self) -> dict[str, Document]:
        return dict(self.header["spec"]["inputs"]) if self.header else {}

    @property
    def used(self) -> set[str]:
        """The inputs that the configuration mentions."""
        return set(_INPUT.findall(yaml.safe_dump(self._configuration, width=10_000)))

    def filled(self, **given: object) -> Document:
        """The configuration; inputs that are not given have their default, `model` is phishing-url."""
        values = {name.replace("_", "-"): value for name, value in given.items()}

        def value(name: str) -> object:
            return values.get(name, self.inputs[name].get("default", "phishing-url"))

        def fill(node: object) -> object:
            if isinstance(node, dict):
                return {fill(key): fill(one) for key, one in node.items()}
            if isinstance(node, list):
                return [fill(one) for one in node]
            if not isinstance(node, str):
                return node
            whole = _INPUT.fullmatch(node)
            return value(whole[1]) if whole else _INPUT.sub(lambda match: _text(value(match[1])), node)

        filled = fill(self._configuration)
        assert isinstance(filled, dict)
        return filled

    @property
    def job(self) -> Document:
        """The one job, with default inputs."""
        (job,) = self.filled().values()
        assert isinstance(job, dict)
        return job


def _text(value: object) -> str:
    """Inside a longer text, as GitLab writes it there: arrays as JSON."""
    return json.dumps(value) if isinstance(value, (bool, list)) else str(value)


@pytest.fixture(scope="session")
def templates() -> dict[str, Template]:
    """All templates, by the name of their file."""
    return {file.stem: Template(file) for file in sorted((paths.checkout() / "ci-templates").glob("*.yml"))}


@pytest.fixture(scope="session")
def stages(templates: dict[str, Template]) -> dict[str, Template]:
    """The templates of a model's pipeline, one stage each."""
    others = ("model-pipeline", "workflow", "terraform", "downstream", "fetch", "answer")
    return {name: one for name, one in templates.items() if name not in others}


@pytest.fixture(scope="session")
def planner(tmp_path_factory: pytest.TempPathFactory) -> Planner:
    """Evaluates a CI file in a repository that holds the templates, and gives the jobs that would run.

    `changed` are the files that `rules: changes` sees changed since the default branch.
    """

    def plan(
        configuration: Mapping[str, object],
        trigger: PipelineTrigger | None = None,
        changed: Sequence[str] = (),
        **variables: str,
    ) -> dict[str, engine.PlannedJob]:
        folder = tmp_path_factory.mktemp("plan")
        source = folder / "source"
        shutil.copytree(paths.checkout() / "ci-templates", source / "ci-templates")
        (source / ".gitlab-ci.yml").write_text(yaml.safe_dump(dict(configuration)), encoding="utf-8")
        for command in (
            ["init", "--quiet", "--initial-branch=main"],
            ["remote", "add", "origin", "http://127.0.0.1:1/models/phishing-url.git"],
            ["add", "--all"],
            ["-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "--quiet", "--message=feat: a"],
            ["update-ref", "refs/remotes/origin/main", "HEAD"],
            ["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"],
        ):
            subprocess.run(["git", *command], cwd=source, check=True)
        for name in changed:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text("changed\n", encoding="utf-8")
        subprocess.run(["git", "add", "--all"], cwd=source, check=True)
        why = trigger or PipelineTrigger()
        pipeline = StoredPipeline(
            id=7,
            iid=3,
            project_id=1,
            project_path="models/phishing-url",
            ref=why.ref,
            sha="a" * 40,
            source=SOURCES[why.kind],
            created_at="2026-01-01T00:00:00Z",
        )
        commit = CommitDetails(sha="a" * 40, before="", message="feat: a", author="a", timestamp="")
        given = {**predefined(pipeline, why, commit, "http://127.0.0.1:1"), **variables}
        try:
            return {job.name: job for job in engine.plan(engine.check_out(folder, given, ()))}
        except NoPipelineError:
            return {}

    return plan
