"""What `rules: changes` sees: https://docs.gitlab.com/ci/yaml/#ruleschanges."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlops_local.gitlab import pipelines
from mlops_local.gitlab.pipelines import StoredPipeline
from mlops_local.gitlab.projects import LocalProject, create_project
from mlops_local.pipelines import changes


@dataclass(frozen=True)
class Lab:
    """A project of the local GitLab, and a clone to push from."""

    home: Path
    project: LocalProject
    clone: Path
    git: Any

    def commit(self, *files: str) -> str:
        """A commit that writes these files, pushed to no branch yet."""
        for name in files:
            (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
            with (self.clone / name).open("a") as file:
                file.write("more\n")
        self.git(self.clone, "add", "--all")
        self.git(self.clone, "commit", "--quiet", "--allow-empty", "--message=feat: more")
        return str(self.git(self.clone, "rev-parse", "HEAD"))

    def pipeline(
        self, sha: str, ref: str = "main", source: str = "push", tag: bool = False
    ) -> StoredPipeline:
        """The pipeline of a push, as the server makes it."""
        target = "refs/tags/" if tag else "refs/heads/"
        url = str(self.project.repository)
        self.git(self.clone, "push", "--quiet", "--force", url, f"{sha}:{target}{ref}")
        return pipelines.create(
            self.home,
            self.project,
            ref=ref,
            sha=sha,
            source=source,
            tag=tag,
            created_at="2026-01-01T00:00:00Z",
        )

    def changed(self, pipeline: StoredPipeline, tmp_path: Path) -> list[str]:
        """The files that gitlab-ci-local would call changed, in a shallow clone as the runner makes it."""
        folder = tmp_path / f"clone-{pipeline.id}"
        url = f"file://{self.project.repository}"
        subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
        self.git(folder, "fetch", "--quiet", "--depth=2", url, pipeline.sha)
        self.git(folder, "checkout", "--quiet", "--detach", pipeline.sha)
        history = self.git(folder, "log", "--format=%H")
        changes.mark(folder, self.project, changes.base(self.home, self.project, pipeline))
        assert self.git(folder, "log", "--format=%H") == history
        return str(self.git(folder, "diff", "--name-only", "origin/main")).split()


@pytest.fixture
def lab(repository: Path, git: Any, tmp_path: Path) -> Lab:
    home = tmp_path / "gitlab"
    return Lab(home=home, project=create_project(home, "models/two"), clone=repository, git=git)


def test_a_push_is_compared_with_the_push_before(lab: Lab, tmp_path: Path) -> None:
    first = lab.pipeline(lab.commit("wine/a", "mass/a"))
    lab.commit("wine/b")
    second = lab.pipeline(lab.commit("wine/c"))
    third = lab.pipeline(lab.commit("mass/b"))
    empty = lab.pipeline(lab.commit())

    assert {"wine/a", "mass/a"} <= set(lab.changed(first, tmp_path))
    # All commits of a push count, not its last alone.
    assert lab.changed(second, tmp_path) == ["wine/b", "wine/c"]
    assert lab.changed(third, tmp_path) == ["mass/b"]
    assert lab.changed(empty, tmp_path) == []


def test_every_file_counts_where_nobody_pushed(lab: Lab, tmp_path: Path) -> None:
    sha = lab.commit("wine/a", "mass/a")
    lab.pipeline(sha)

    for pipeline in (
        lab.pipeline(sha),
        lab.pipeline(sha, source="schedule"),
        lab.pipeline(sha, source="pipeline"),
        lab.pipeline(sha, ref="v1", tag=True),
        lab.pipeline(lab.commit("wine/b"), ref="new-branch"),
    ):
        assert {"wine/a", "mass/a"} <= set(lab.changed(pipeline, tmp_path))


def test_a_merge_request_is_compared_with_where_it_began(lab: Lab, tmp_path: Path) -> None:
    lab.pipeline(lab.commit("wine/a"))
    fork = lab.git(lab.clone, "rev-parse", "HEAD")
    lab.pipeline(lab.commit("mass/on-main"))
    lab.git(lab.clone, "checkout", "--quiet", fork)
    lab.pipeline(lab.commit("wine/b"), ref="topic", source="merge_request_event")
    again = lab.pipeline(lab.commit("README.md"), ref="topic", source="merge_request_event")

    # What its earlier pushes changed stays a change of the merge request; what others merged is none.
    assert lab.changed(again, tmp_path) == ["README.md", "wine/b"]


def test_a_merge_request_without_a_history_in_common_changes_every_file(lab: Lab, tmp_path: Path) -> None:
    sha = lab.commit("wine/a")

    assert "wine/a" in lab.changed(lab.pipeline(sha, "topic", "merge_request_event"), tmp_path)
