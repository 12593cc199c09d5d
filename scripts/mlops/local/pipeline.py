"""Runs one pipeline of a project of the local GitLab, as a runner would: a clean clone, then its jobs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from mlops.errors import LocalStackError, UsageError
from mlops.local import gitlab_ci_local as engine
from mlops.local import changes, paths
from mlops.local.environment import find_environment
from mlops.local.gitlab import id_tokens, pipelines, projects
from mlops.local.gitlab.projects import DEFAULT_BRANCH, Project
from mlops.local.gitlab.variables import for_pipeline as group_variables
from mlops.local.job_board import JobBoard, JobResult
from mlops.local.pipeline_variables import SOURCES, Commit, Trigger, predefined
from mlops.local.stack import TEMPLATES_PROJECT, Stack

# GitLab's default for a new project, so that jobs meet a shallow clone:
# https://docs.gitlab.com/ci/pipelines/settings/#limit-the-number-of-changes-fetched-during-clone
_DEPTH = 20

# Jobs talk to this machine's own Docker daemon, where there is one, not to the service of a template.
_DOCKER = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_TLS_CERTDIR")

Echo = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class PipelineRun:
    """A pipeline that ran; `run_manual` starts what a person would click."""

    id: int
    iid: int
    project: str
    url: str
    commit: str
    trigger: Trigger
    jobs: tuple[JobResult, ...]
    folder: Path
    planned: tuple[engine.PlannedJob, ...] = field(repr=False)
    settings: dict[str, str] = field(repr=False)
    """The CI variables all jobs got."""

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
        return all(job.state not in ("failed", "canceled") for job in self.jobs)

    @property
    def variables(self) -> dict[str, str]:
        """The dotenv variables of all jobs, later ones on top."""
        return {name: value for job in self.jobs for name, value in job.variables.items()}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to run.

    Attributes:
        variables: More CI variables, as a person would set them for the project.
        tools: Folders that jobs find programs in before all others.
        limit_seconds: After which a pipeline is stopped.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    tools: tuple[Path, ...] = ()
    limit_seconds: float = 3600.0


def publish_templates(
    stack: Stack, project: str, source: Path | None = None, versions: Iterable[str] = ("1",)
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
    repository = projects.create_project(stack.folder / "gitlab", project).repository
    index = repository / "publish.index"
    index.unlink(missing_ok=True)
    environment = {**_git_environment(), "GIT_INDEX_FILE": str(index)}
    for role in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{role}_NAME": "ml-ops", f"GIT_{role}_EMAIL": "ml-ops@localhost"}

    def git(*arguments: str) -> str:
        return _git([f"--git-dir={repository}", f"--work-tree={folder}", *arguments], folder, environment)

    git("add", "--force", "ci-templates")
    tree = git("write-tree")
    commit = git("for-each-ref", "--format=%(objectname)", f"refs/heads/{DEFAULT_BRANCH}")
    if not commit or git("rev-parse", f"{commit}^{{tree}}") != tree:
        parents = ("-p", commit) if commit else ()
        commit = git("commit-tree", *parents, "-m", "Publish the templates of this checkout", tree)
        git("update-ref", f"refs/heads/{DEFAULT_BRANCH}", commit)
    for version in versions:
        git("update-ref", f"refs/tags/{version}", commit)
    index.unlink(missing_ok=True)
    return commit


def run(  # pylint: disable=too-many-arguments,too-many-locals
    stack: Stack,
    project: str,
    commit: str,
    trigger: Trigger | None = None,
    *,
    echo: Echo = print,
    options: Options | None = None,
) -> PipelineRun:
    """Run the pipeline of a pushed commit until nothing is left but manual jobs.

    Args:
        project: The project's path in the local GitLab.
        commit: A commit that was pushed there.
        trigger: By default a push to the default branch.
        echo: Gets every line of output.

    Raises:
        LocalStackError: when the project, the commit or the engine is missing, or the CI file is not valid.
    """
    options, trigger = options or Options(), trigger or Trigger()
    home = stack.folder / "gitlab"
    found = projects.find_project(home, project)
    if found is None:
        raise LocalStackError(f"The local GitLab has no project {project}", next_step="Push to it first.")
    facts = _commit(found, commit)
    pipeline = _create(home, found, facts, trigger)
    folder = stack.folder / "runs" / str(pipeline.id)
    _clone(f"{stack.gitlab_url}/{project}.git", facts.sha, folder / "source")
    changes.mark(folder / "source", found, changes.base(home, found, pipeline))
    settings = {
        **predefined(pipeline, trigger, facts, stack.gitlab_url),
        **{name: os.environ.get(name, "") for name in _DOCKER},
        "MLOPS_VENVS": str(paths.cache() / "model-venvs"),
        **stack.environment(),
        **group_variables(home, project, protected=trigger.ref == DEFAULT_BRANCH),
        **options.variables,
    }
    checkout = engine.check_out(folder, settings, options.tools)
    _fetch_templates(home, checkout)
    planned = tuple(engine.plan(checkout))
    board = JobBoard(home, pipeline, planned, checkout)
    overlay = board.overlay(stack.gitlab_url, _tokens(stack, settings))
    later = {name: {**overlay[name], "rules": [{"when": "manual"}]} for name in engine.behind_manual(planned)}
    whole = engine.Run(checkout=checkout, jobs=planned, overlay={**overlay, **later})
    _follow(board, whole, echo, options.limit_seconds)
    for name in board.forgotten():
        alone = engine.Run(checkout=checkout, jobs=planned, overlay=_unruled(overlay, name), only=name)
        _follow(board, alone, echo, options.limit_seconds)
    return PipelineRun(
        id=pipeline.id,
        iid=pipeline.iid,
        project=project,
        url=settings["CI_PIPELINE_URL"],
        commit=facts.sha,
        trigger=trigger,
        jobs=board.finish(),
        folder=folder,
        planned=planned,
        settings=settings,
    )


def run_manual(  # pylint: disable=too-many-arguments
    stack: Stack,
    done: PipelineRun,
    job: str,
    variables: Mapping[str, str] | None = None,
    *,
    echo: Echo = print,
    options: Options | None = None,
) -> PipelineRun:
    """Start a manual job of a pipeline that ran, or repeat one that ended; it gets the others' artifacts.

    The jobs that only waited for it run after it.

    Args:
        variables: What a person fills in beside the button.

    Raises:
        UsageError: when there is no such job, or GitLab would not offer it.
        LocalStackError: when the engine fails.
    """
    options = options or Options()
    if done.job(job).state == "skipped":
        raise UsageError(
            f"The job '{job}' cannot be started",
            cause="a job it needs did not succeed",
            next_step=f"Look at {done.url}",
        )
    home = stack.folder / "gitlab"
    pipeline = pipelines.find(home, done.id)
    if pipeline is None:
        raise LocalStackError(f"The local GitLab has no pipeline {done.id}")
    checkout = engine.check_out(done.folder, {**done.settings, **(variables or {})}, options.tools)
    board = JobBoard(home, pipeline, done.planned, checkout, done.jobs)
    overlay = board.overlay(stack.gitlab_url, _tokens(stack, done.settings))
    alone = engine.Run(checkout=checkout, jobs=done.planned, overlay=overlay, only=job)
    _follow(board, alone, echo, options.limit_seconds)
    while name := board.released():
        _follow(board, replace(alone, only=name), echo, options.limit_seconds)
    return replace(done, jobs=board.finish())


def _unruled(overlay: Mapping[str, Mapping[str, object]], name: str) -> dict[str, Mapping[str, object]]:
    """The overlay in which a job runs whatever its rules say."""
    return {**overlay, name: {**overlay[name], "rules": [{"when": "always"}]}}


def _tokens(stack: Stack, settings: Mapping[str, str]) -> Callable[[str], str] | None:
    """Makes the jobs' ID tokens for the audience that templates ask for; None where there are no roles."""
    if not find_environment(stack.environment_name).whole:
        return None
    home, server = stack.folder / "gitlab", stack.gitlab_url
    return lambda job: id_tokens.issue(home, server, {**settings, "CI_JOB_ID": job}, server)


def _fetch_templates(home: Path, checkout: engine.Checkout) -> None:
    """Fetch the templates at once; gitlab-ci-local would make a clone for each of the files, 0.1 s each.

    What it does not find here, such as a template that does not exist, it still asks the local GitLab for.
    """
    templates = projects.find_project(home, TEMPLATES_PROJECT)
    if templates is None:
        return
    shape = ("for-each-ref", "--format=%(refname:strip=2)", "refs/heads", "refs/tags")
    for ref in projects.git(templates.repository, *shape).split():
        folder = checkout.includes("127.0.0.1", TEMPLATES_PROJECT, ref)
        folder.mkdir(parents=True)
        environment = {**_git_environment(), "GIT_INDEX_FILE": str(checkout.folder / ".git" / "templates")}
        command = [f"--git-dir={templates.repository}", f"--work-tree={folder}", "checkout", ref, "--", "."]
        _git(command, folder, environment)


def _follow(board: JobBoard, engine_run: engine.Run, echo: Echo, limit_seconds: float) -> None:
    try:
        for event in engine_run.events(echo, limit_seconds):
            board.note(event)
    except BaseException:
        board.cancel()
        raise


def _create(home: Path, project: Project, commit: Commit, trigger: Trigger) -> pipelines.Pipeline:
    return pipelines.create(
        home,
        project,
        ref=trigger.ref,
        sha=commit.sha,
        source=SOURCES[trigger.kind],
        tag=trigger.kind == "tag",
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    )


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
    facts = projects.git(project.repository, "log", "-1", shape, name, "--").split("\0")
    sha, parents, author, timestamp, message = facts
    return Commit(
        sha=sha, before=parents.partition(" ")[0], message=message.strip(), author=author, timestamp=timestamp
    )


def _clone(url: str, sha: str, folder: Path) -> None:
    """A checkout as GitLab's runner makes it: shallow, on no branch, with `origin`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for arguments in (
        ("init", "--quiet", f"--initial-branch={DEFAULT_BRANCH}"),
        ("remote", "add", "origin", url),
        # gitlab-ci-local asks for these three.
        ("symbolic-ref", "refs/remotes/origin/HEAD", f"refs/remotes/origin/{DEFAULT_BRANCH}"),
        ("config", "user.name", "local"),
        ("config", "user.email", "local@localhost"),
        ("fetch", "--quiet", "--no-tags", f"--depth={_DEPTH}", "origin", sha),
        ("checkout", "--quiet", "--detach", sha),
    ):
        _git(arguments, folder, _git_environment())


def _git(arguments: Iterable[str], folder: Path, environment: Mapping[str, str]) -> str:
    command = ["git", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        raise LocalStackError(f"{' '.join(command)} failed", cause=done.stderr.strip())
    return done.stdout.strip()


def _git_environment() -> dict[str, str]:
    """Without the variables that would point git at another repository, or at a proxy."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
