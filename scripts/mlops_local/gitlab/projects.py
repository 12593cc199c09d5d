"""The projects of the local GitLab: a number and a bare repository each."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from mlops.base.errors import LocalStackError, UsageError
from mlops_local.gitlab import records

DEFAULT_BRANCH = "main"
_PATH = re.compile(r"[a-z0-9_][a-z0-9_.-]*(/[a-z0-9_][a-z0-9_.-]*)+", re.IGNORECASE)
_LIMIT = 200
_JOBS_PUSH = "mlops.jobsPush"
_JOBS_READ = "mlops.jobsRead"

# What a GitLab server allows: pushes over HTTP, partial clones, and fetching a commit by its name.
_CONFIG = (
    ("http.receivepack", "true"),
    ("uploadpack.allowFilter", "true"),
    ("uploadpack.allowAnySHA1InWant", "true"),
    ("gc.auto", "0"),
    ("core.logAllRefUpdates", "false"),
)


@dataclass(frozen=True, kw_only=True)
class LocalProject:
    """A project; `repository` is its bare repository's folder."""

    id: int
    path: str
    repository: Path


def create_project(home: Path, path: str) -> LocalProject:
    """Make a project, or find it.

    Raises:
        UsageError: when the path is not a group and project.
        LocalStackError: when git cannot make the repository.
    """
    if not valid_path(path):
        raise UsageError(
            f"{path!r} is not a project path", next_step="Use one such as web-safety/phishing-url."
        )
    with records.edit(home / "projects.json") as projects:
        project = LocalProject(
            id=projects.get(path, len(projects) + 1), path=path, repository=repository(home, path)
        )
        if path not in projects:
            _init(project.repository)
            projects[path] = project.id
    return project


def find_project(home: Path, key: str) -> LocalProject | None:
    """The project with this path or number."""
    for path, number in records.read(home / "projects.json").items():
        if key in (path, str(number)):
            return LocalProject(id=number, path=path, repository=repository(home, path))
    return None


def let_jobs_push(project: LocalProject) -> None:
    """Switch on the project's setting "Allow Git push requests to the repository", which is off at first."""
    git(project.repository, "config", _JOBS_PUSH, "true")


def may_jobs_push(project: LocalProject) -> bool:
    """Whether a job token may push."""
    return git(project.repository, "config", "--default=false", _JOBS_PUSH).strip() == "true"


def admit_jobs_of(project: LocalProject, path: str) -> None:
    """Put another project on the project's job token allowlist."""
    git(project.repository, "config", "--add", _JOBS_READ, path)


def admits_jobs_of(project: LocalProject, path: str) -> bool:
    """Whether job tokens of another project may read here."""
    settings = git(project.repository, "config", "--list").splitlines()
    return f"{_JOBS_READ.lower()}={path}" in settings


def repository(home: Path, path: str) -> Path:
    """Where the bare repository of a project is."""
    return home / "repositories" / f"{path}.git"


def valid_path(path: str) -> bool:
    """Whether a path is a group and a project, and stays below the folder of repositories."""
    return bool(_PATH.fullmatch(path)) and len(path) <= _LIMIT and ".." not in path


def git(repository_folder: Path, *arguments: str) -> str:
    """The output of a git command in a bare repository.

    Raises:
        LocalStackError: when git refuses.
    """
    done = subprocess.run(
        ["git", f"--git-dir={repository_folder}", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LocalStackError(f"git {arguments[0]} failed in {repository_folder}", cause=done.stderr.strip())
    return done.stdout


def _init(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["git", "init", "--quiet", "--bare", f"--initial-branch={DEFAULT_BRANCH}", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LocalStackError(f"The repository {folder} cannot be made", cause=done.stderr.strip())
    for name, value in _CONFIG:
        git(folder, "config", name, value)
