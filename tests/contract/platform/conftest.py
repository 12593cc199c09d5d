"""A platform's project on the local GitLab, and clones of it as jobs have them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from mlops.clients.git.origin import Author, RemoteRepository
from mlops.clients.git.repository import Repository
from mlops.clients.gitlab.project import GitLabProject, connect_job
from mlops.releasing.release import Release, ReleaseRequest, release
from mlops_local.gitlab import projects
from mlops_local.gitlab.users import JOB_TOKEN
from mlops_local.stack.stack import Stack
from tests.local.gitlab.conftest import Git, git, stack

from ..templates.conftest import planner, templates

__all__ = ["git", "planner", "stack", "templates"]

PATH = "platform/ml-ops"
CHANGELOG = "# Changelog\n\nAll notable changes.\n\n## Unreleased\n\n### Added\n\n- The first.\n"


@dataclass
class Platform:
    """The project, a developer's clone, and what its jobs do."""

    stack: Stack
    git: Git
    folder: Path
    project: projects.LocalProject
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def url(self) -> str:
        return f"{self.stack.gitlab_url}/{PATH}.git"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def commit(self, message: str, note: str = "", path: str = "scripts/mlops/code.py") -> str:
        """Commit a change on the checked-out branch, with a line of the changelog, and push it."""
        file = self.work / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# {next(self.numbers)}\n")
        if note:
            changelog = self.work / "CHANGELOG.md"
            text = changelog.read_text()
            changelog.write_text(text.replace("## Unreleased\n", f"## Unreleased\n\n- {note}\n", 1))
        self.git(self.work, "add", "--all")
        self.git(self.work, "commit", "--quiet", f"--message={message}")
        self.git(self.work, "push", "--quiet", "origin", "HEAD")
        return self.git(self.work, "rev-parse", "HEAD")

    def pull(self) -> None:
        """Fetch what jobs have pushed to the checked-out branch."""
        self.git(self.work, "pull", "--quiet", "--ff-only", "--no-tags")

    def clone(self, commit: str = "", *options: str) -> Path:
        """A clone as a runner makes it: at a commit of no branch."""
        folder = self.folder / f"job-{next(self.numbers)}"
        self.git(self.folder, "clone", "--quiet", "--no-tags", *options, self.url, str(folder))
        self.git(folder, "checkout", "--quiet", "--detach", commit or "HEAD")
        return folder

    def origin(self, clone: Path) -> RemoteRepository:
        return RemoteRepository(Repository.open(clone), self.url, JOB_TOKEN)

    def api(self) -> GitLabProject:
        return connect_job(self.stack.gitlab_url, str(self.project.id), JOB_TOKEN)

    def release(self, commit: str = "", branch: str = "main", **facts: Any) -> Release | None:
        """What the job `release` does in the pipeline of a commit."""
        return release(self.origin(self.clone(commit)), self.api(), request(branch, **facts))

    def refs(self) -> dict[str, str]:
        """What the project has: branches and tags, by their short names."""
        listed = self.git(self.folder, "ls-remote", "--heads", "--tags", self.url).splitlines()
        return {name.split("/", 2)[2]: commit for commit, name in (line.split("\t") for line in listed)}

    def releases(self) -> list[str]:
        """The tags that have a release in GitLab, newest first."""
        from mlops_local.gitlab import api

        return [one["tag_name"] for one in api.list_releases(self.stack.folder / "gitlab", self.project)]

    def show(self, ref: str, path: str) -> str:
        return projects.git(self.project.repository, "show", f"{ref}:{path}")


def request(branch: str = "main", **facts: Any) -> ReleaseRequest:
    given = {"author": Author("Ann", "ann@x.org"), **facts}
    return ReleaseRequest(branch=branch, day=date(2026, 11, 21), **given)


@pytest.fixture
def platform(stack: Stack, git: Git, tmp_path: Path) -> Platform:
    """A platform that was never released, with one commit."""
    project = projects.create_project(stack.folder / "gitlab", PATH)
    projects.let_jobs_push(project)
    made = Platform(stack, git, tmp_path, project)
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(made.work))
    git(made.work, "remote", "add", "origin", made.url)
    (made.work / "scripts" / "mlops").mkdir(parents=True)
    (made.work / "scripts" / "mlops" / "__init__.py").write_text('"""ml-ops."""\n\n__version__ = "0.1.0"\n')
    (made.work / "CHANGELOG.md").write_text(CHANGELOG)
    git(made.work, "config", "push.default", "current")
    made.commit("Begin")
    git(made.work, "branch", "--quiet", "--set-upstream-to=origin/main", "main")
    return made
