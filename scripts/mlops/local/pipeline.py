"""Runs one pipeline of a project of the local GitLab, as a runner would: a clean clone, then its jobs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from mlops.errors import LocalStackError, UsageError
from mlops.local import gitlab_ci_local as engine
from mlops.local import paths
from mlops.local.gitlab import pipelines, projects
from mlops.local.gitlab.projects import Project, create_project
from mlops.local.pipeline_variables import SOURCES, Commit, Trigger, predefined
from mlops.local.stack import Stack

# GitLab's default for a new project (https://docs.gitlab.com/ci/pipelines/settings/): jobs meet a shallow clone.
_DEPTH = 20
_LIMIT_SECONDS = 3600.0

# Variables that the overlay gives each job.
_OF_A_JOB = ("CI_JOB_ID", "CI_JOB_URL", "CI_PROJECT_DIR", "CI_BUILDS_DIR")

State = Literal["success", "failed", "warning", "manual", "skipped"]

_STATUSES: dict[State, pipelines.Status] = {
    "success": "success",
    "failed": "failed",
    "warning": "failed",
    "manual": "manual",
    "skipped": "skipped",
}


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """How a job ended. A warning is a failure that the template allows."""

    name: str
    stage: str
    state: State
    exit_code: int | None
    seconds: float
    artifacts: Path
    log: Path
    variables: dict[str, str]
    """Its dotenv report."""


@dataclass(frozen=True, kw_only=True)
class PipelineRun:
    """A pipeline that ran; `run_manual` starts what a person would click."""

    id: int
    iid: int
    project: str
    url: str
    commit: str
    trigger: Trigger
    folder: Path
    jobs: tuple[JobResult, ...]

    def job(self, name: str) -> JobResult:
        """The job of that name.

        Raises:
            UsageError: when the pipeline has none.
        """
        for job in self.jobs:
            if job.name == name:
                return job
        names = ", ".join(job.name for job in self.jobs)
        raise UsageError(f"The pipeline has no job '{name}'", next_step=f"Its jobs: {names or 'none'}")

    @property
    def succeeded(self) -> bool:
        """Whether GitLab would show it green, or with a warning."""
        return all(job.state != "failed" for job in self.jobs)

    @property
    def variables(self) -> dict[str, str]:
        """The dotenv variables of all jobs, later ones on top."""
        return {name: value for job in self.jobs for name, value in job.variables.items()}


def publish_templates(
    stack: Stack, project: str, source: Path | None = None, versions: tuple[str, ...] = ("1",)
) -> str:
    """Put the templates of this checkout into the local GitLab, as they are in the work tree.

    Args:
        source: The checkout with `ci-templates`; by default the one this package runs from.
        versions: The tags that model repos include, which move as those of a release do.

    Returns:
        The commit.

    Raises:
        LocalStackError: when git refuses.
    """
    folder = source or paths.checkout()
    repository = create_project(stack.folder / "gitlab", project).repository
    index = repository / "publish.index"
    index.unlink(missing_ok=True)
    identity = {"GIT_AUTHOR_NAME": "ml-ops", "GIT_AUTHOR_EMAIL": "ml-ops@localhost"}
    identity |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in identity.items()}

    def git(*arguments: str) -> str:
        environment = {**_git_environment(), **identity, "GIT_INDEX_FILE": str(index)}
        command = ["git", f"--git-dir={repository}", f"--work-tree={folder}", *arguments]
        return _git(command, folder, environment)

    git("add", "--force", "ci-templates")
    tree = git("write-tree")
    parent = git("for-each-ref", "--format=%(objectname)", f"refs/heads/{projects.DEFAULT_BRANCH}")
    if not parent or git("rev-parse", f"{parent}^{{tree}}") != tree:
        parents = ("-p", parent) if parent else ()
        parent = git("commit-tree", *parents, "-m", "Publish the templates of this checkout", tree)
        git("update-ref", f"refs/heads/{projects.DEFAULT_BRANCH}", parent)
    for version in versions:
        git("update-ref", f"refs/tags/{version}", parent)
    index.unlink(missing_ok=True)
    return parent


def run(  # pylint: disable=too-many-arguments
    stack: Stack,
    project: str,
    commit: str,
    trigger: Trigger,
    *,
    variables: Mapping[str, str] | None = None,
    tools: tuple[Path, ...] = (),
    echo: Callable[[str], None] = print,
    limit_seconds: float = _LIMIT_SECONDS,
) -> PipelineRun:
    """Run the pipeline of a pushed commit until nothing is left but manual jobs.

    Args:
        project: The project's path in the local GitLab.
        commit: A commit that was pushed there.
        variables: More CI variables, as a person would set them for the project.
        tools: Folders that jobs find programs in first.
        echo: Gets every line of output.

    Raises:
        LocalStackError: when the project, the commit or the engine is missing, or the CI file is not valid.
    """
    home = stack.folder / "gitlab"
    found = projects.find_project(home, project)
    if found is None:
        raise LocalStackError(f"The local GitLab has no project {project}", next_step="Push to it first.")
    facts = _commit(found, commit)
    pipeline = pipelines.create(
        home,
        found,
        ref=trigger.ref,
        sha=facts.sha,
        source=SOURCES[trigger.kind],
        tag=trigger.kind == "tag",
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    )
    folder = stack.folder / "runs" / str(pipeline.id)
    _clone(f"{stack.gitlab_url}/{project}.git", facts.sha, folder / "source")
    given = {
        **predefined(pipeline, trigger, facts, stack.gitlab_url),
        "MLOPS_VENVS": str(paths.cache() / "model-venvs"),
        **stack.environment(),
        **(variables or {}),
    }
    checkout = _checkout(folder, given, tools)
    planned = engine.plan(checkout)
    board = _Board(home, pipeline, planned, checkout)
    overlay = board.overlay(stack.gitlab_url)
    for event in engine.start(checkout, planned, overlay, echo=echo, limit_seconds=limit_seconds):
        board.note(event)
    # gitlab-ci-local takes any failure of a job with `allow_failure: exit_codes` for an allowed one.
    for name in board.forgotten():
        always = {**overlay, name: {**overlay[name], "rules": [{"when": "always"}]}}
        for event in engine.start(
            checkout, planned, always, only=name, echo=echo, limit_seconds=limit_seconds
        ):
            board.note(event)
    return PipelineRun(
        id=pipeline.id,
        iid=pipeline.iid,
        project=project,
        url=given["CI_PIPELINE_URL"],
        commit=facts.sha,
        trigger=trigger,
        folder=folder,
        jobs=board.finish(),
    )


def run_manual(  # pylint: disable=too-many-arguments
    stack: Stack,
    done: PipelineRun,
    job: str,
    variables: Mapping[str, str] | None = None,
    *,
    tools: tuple[Path, ...] = (),
    echo: Callable[[str], None] = print,
    limit_seconds: float = _LIMIT_SECONDS,
) -> PipelineRun:
    """Start a manual job of a pipeline that ran, or one that ended once more, with the artifacts of the others.

    Args:
        variables: What a person fills in beside the button.

    Raises:
        UsageError: when there is no such job, or GitLab would not offer it.
        LocalStackError: when the engine fails.
    """
    before = done.job(job)
    if before.state == "skipped":
        raise UsageError(
            f"The job '{job}' cannot be started",
            cause="a job it needs did not succeed",
            next_step=f"Look at {done.url}",
        )
    home = stack.folder / "gitlab"
    pipeline = pipelines.find(home, done.id)
    if pipeline is None:
        raise LocalStackError(f"The local GitLab has no pipeline {done.id}")
    given = json.loads((done.folder / "variables.json").read_text(encoding="utf-8"))
    given = {name: entry["values"]["*"].replace("$$", "$") for name, entry in given.items()}
    checkout = _checkout(done.folder, {**given, **(variables or {})}, tools)
    planned = engine.plan(checkout)
    board = _Board(home, pipeline, planned, checkout, done.jobs)
    overlay = board.overlay(stack.gitlab_url)
    for event in engine.start(checkout, planned, overlay, only=job, echo=echo, limit_seconds=limit_seconds):
        board.note(event)
    # The next manual job is not given what a person typed for this one.
    _checkout(done.folder, given, tools)
    return replace(done, jobs=board.finish())


class _Board:
    """What is known of the jobs of one pipeline, kept up to date in the local GitLab."""

    def __init__(
        self,
        home: Path,
        pipeline: pipelines.Pipeline,
        planned: list[engine.PlannedJob],
        checkout: engine.Checkout,
        before: tuple[JobResult, ...] = (),
    ) -> None:
        self._home = home
        self._pipeline = pipeline
        self._planned = planned
        self._checkout = checkout
        self._states: dict[str, State] = {job.name: job.state for job in before}
        self._codes: dict[str, int | None] = {job.name: job.exit_code for job in before}
        self._seconds: dict[str, float] = {job.name: job.seconds for job in before}
        self._running: set[str] = set()
        self._show()

    def overlay(self, server: str) -> dict[str, dict[str, Any]]:
        """What differs for each job: its own variables; caches and services are the machine's."""
        return {
            job.name: {
                "services": [],
                "cache": [],
                "variables": {
                    "CI_JOB_ID": str(self._id(position)),
                    "CI_JOB_URL": f"{server}/{self._pipeline.project_path}/-/jobs/{self._id(position)}",
                    "CI_PROJECT_DIR": _literal(str(self._checkout.build(job.name))),
                    "CI_BUILDS_DIR": _literal(str(self._checkout.build(job.name).parent)),
                },
            }
            for position, job in enumerate(self._planned)
        }

    def note(self, event: engine.Event) -> None:
        """Take in that a job started or ended."""
        if event.exit_code is None:
            self._running.add(event.job)
        else:
            planned = next(job for job in self._planned if job.name == event.job)
            self._running.discard(event.job)
            self._codes[event.job] = event.exit_code
            self._seconds[event.job] = event.seconds
            self._states[event.job] = (
                "success"
                if event.exit_code == 0
                else "warning"
                if planned.tolerates(event.exit_code)
                else "failed"
            )
        self._show()

    def forgotten(self) -> list[str]:
        """The jobs for a failure that did not run although there was one."""
        if "failed" not in self._states.values():
            return []
        return [
            job.name for job in self._planned if job.when == "on_failure" and job.name not in self._states
        ]

    def finish(self) -> tuple[JobResult, ...]:
        """The results; whatever did not run was skipped, or waits for a person."""
        broken: set[str] = set()
        for job in self._planned:
            needed = [name for name in (job.needs or ()) if name in broken]
            if job.name not in self._states or self._states[job.name] in ("manual", "skipped"):
                self._states[job.name] = "manual" if job.when == "manual" and not needed else "skipped"
            if self._states[job.name] in ("failed", "skipped") and job.when != "on_failure":
                broken.add(job.name)
        self._show()
        return tuple(
            JobResult(
                name=job.name,
                stage=job.stage,
                state=self._states[job.name],
                exit_code=self._codes.get(job.name),
                seconds=round(self._seconds.get(job.name, 0.0), 2),
                artifacts=self._checkout.artifacts(job.name),
                log=self._checkout.log(job.name),
                variables=_dotenv(self._checkout.artifacts(job.name)),
            )
            for job in self._planned
        )

    def _id(self, position: int) -> int:
        return pipelines.job_id(self._pipeline.id, position)

    def _show(self) -> None:
        """Write it where the local GitLab's API and pages find it."""
        jobs = []
        for position, job in enumerate(self._planned):
            state = self._states.get(job.name)
            status: pipelines.Status = _STATUSES[state] if state else "created"
            jobs.append(
                pipelines.Job(
                    id=self._id(position),
                    name=job.name,
                    stage=job.stage,
                    status="running" if job.name in self._running else status,
                    allow_failure=job.may_fail or state == "warning",
                    exit_code=self._codes.get(job.name),
                    seconds=self._seconds.get(job.name),
                    log=str(self._checkout.log(job.name)),
                )
            )
        pipelines.save_jobs(self._home, self._pipeline, jobs)


def _checkout(folder: Path, variables: Mapping[str, str], tools: tuple[Path, ...]) -> engine.Checkout:
    """Write the variables where only this user reads them; on a command line everybody would."""
    file = folder / "variables.json"
    document = {
        name: {"type": "variable", "values": {"*": _literal(value)}} for name, value in variables.items()
    }
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as sink:
        json.dump(document, sink)
    return engine.Checkout(
        folder=folder / "source",
        variables_file=file,
        tools=tools,
        ignored=(*variables, *_OF_A_JOB),
        unset=tuple(name for name, value in variables.items() if not value),
    )


def _literal(value: str) -> str:
    """A value that GitLab's expansion leaves as it is."""
    return value.replace("$", "$$")


def _commit(project: Project, commit: str) -> Commit:
    shape = "--format=%H%x00%P%x00%an <%ae>%x00%cI%x00%B"
    try:
        name = projects.git(
            project.repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}"
        ).strip()
    except LocalStackError as error:
        raise LocalStackError(
            f"The local GitLab has no commit {commit} in {project.path}", next_step="Push it first."
        ) from error
    sha, parents, author, timestamp, message = projects.git(
        project.repository, "log", "-1", shape, name, "--"
    ).split("\0")
    before = parents.split()[0] if parents else ""
    return Commit(sha=sha, before=before, message=message.strip(), author=author, timestamp=timestamp)


def _clone(url: str, sha: str, folder: Path) -> None:
    """A checkout as GitLab's runner makes it: shallow, on no branch, with `origin`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for arguments in (
        ("init", "--quiet", f"--initial-branch={projects.DEFAULT_BRANCH}"),
        ("remote", "add", "origin", url),
        # gitlab-ci-local asks for both of these.
        ("symbolic-ref", "refs/remotes/origin/HEAD", f"refs/remotes/origin/{projects.DEFAULT_BRANCH}"),
        ("config", "user.name", "local"),
        ("config", "user.email", "local@localhost"),
        ("fetch", "--quiet", "--no-tags", f"--depth={_DEPTH}", "origin", sha),
        ("checkout", "--quiet", "--detach", sha),
    ):
        _git(["git", *arguments], folder, _git_environment())


def _git(command: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        raise LocalStackError(f"{' '.join(command[:4])} failed", cause=done.stderr.strip())
    return done.stdout.strip()


def _git_environment() -> dict[str, str]:
    """Without the variables that would point git at another repository, or at a proxy."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def _dotenv(artifacts: Path) -> dict[str, str]:
    """The variables a job reported; gitlab-ci-local keeps the file apart from the other artifacts."""
    variables = {}
    for file in sorted((artifacts / ".gitlab-ci-reports" / "dotenv").rglob("*")):
        if file.is_file():
            for line in file.read_text(encoding="utf-8").splitlines():
                name, _, value = line.partition("=")
                variables[name] = value
    return variables
